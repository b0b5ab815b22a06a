"""What an explanation costs beside a plain forward: time and peak memory of camlucida and its peers.

python benchmarks/overhead.py [--rounds 15] [--threads 1] [--models resnet50 …] [--memory-only | --no-memory]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

import measure

ONE, EIGHT = "camlucida", "camlucida ×8"
PEERS = ("grad-cam", "torchcam", "captum")
MEMORY_BATCH, MEMORY_PROCESSES = 8, 3
AGREE = 0.999  # correlation of maps below which the figures mean nothing
TARGETS = {"time": 1.15, "beyond torchcam": 0.08, "eight": 1.5, "memory": 1.6}

Results = dict[str, Any]


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    if options.child:
        model, contender = options.child
        print(json.dumps(measure.peak_megabytes(model, contender, MEMORY_BATCH)))
        return
    console = Console(width=None if sys.stdout.isatty() else 130)
    report: Results = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": measure.machine(options.threads),
        "rounds": options.rounds,
        "targets": TARGETS,
        "models": {},
    }
    for model in options.models:
        found: Results = {}
        report["models"][model] = found
        if not options.memory_only:
            console.log(f"{model}: {options.rounds} rounds")
            found["time"] = time_model(model, options.rounds)
        if not options.no_memory:
            console.log(f"{model}: memory, {MEMORY_PROCESSES} processes each")
            found["memory"] = memory_model(model, options.threads)
        found["verdicts"] = verdicts(found)
        _write(report, options.out)  # after each model: a run that is cut short leaves what it has
    for table in tables(report):
        console.print(table)
    console.print(f"written: {options.out}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="how often each is timed (15)")
    parser.add_argument("--threads", type=int, default=1, help="torch's threads (1)")
    parser.add_argument("--models", nargs="+", choices=measure.MODELS, default=list(measure.MODELS))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "overhead.json")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--memory-only", action="store_true")
    which.add_argument("--no-memory", action="store_true")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)  # model and contender: one peak, printed
    return parser.parse_args()


def time_model(model: str, rounds: int) -> Results:
    """Each contender once a round, beginning with another one each round; ratios are within a round."""
    job, batch = measure.job_for(model), measure.pictures(1)
    correlations = measure.agreement(job)
    for name, value in correlations.items():
        if not value >= AGREE:
            sys.exit(f"{model}: the maps of camlucida and {name} do not agree (correlation {value:.4f})")
    names = list(measure.CONTENDERS)
    taken: dict[str, list[float]] = {name: [] for name in names}
    for name in names:  # a round that does not count
        measure.seconds(measure.CONTENDERS[name], job, batch)
    for i in range(rounds):
        first = i % len(names)
        for name in names[first:] + names[:first]:
            taken[name].append(measure.seconds(measure.CONTENDERS[name], job, batch))
    summary = {name: _against(taken[name], taken["forward"]) for name in names}
    beyond = [
        (ours - theirs) / plain
        for ours, theirs, plain in zip(taken[ONE], taken["torchcam"], taken["forward"], strict=True)
    ]
    return {
        "layer": job.layer,
        "class": job.index,
        "correlation": correlations,
        "summary": summary,
        "beyond_torchcam": median(beyond),
        "seconds": taken,
    }


def _against(taken: list[float], plain: list[float]) -> dict[str, float]:
    ratios = [one / other for one, other in zip(taken, plain, strict=True)]
    low, middle, high = np.percentile(ratios, [25, 50, 75]).tolist()
    return {"ms": 1000 * median(taken), "ratio": middle, "ratio_q25": low, "ratio_q75": high}


def memory_model(model: str, threads: int) -> Results:
    """Medians over processes of the peaks in MB, and as ratios to the plain forward's."""
    names = [name for name in measure.CONTENDERS if name != EIGHT]
    peaks: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(MEMORY_PROCESSES):
        for name in names:
            peaks[name].append(_peak_of(model, name, threads))
    plain = median(peaks["forward"])
    summary = {name: {"mb": median(found), "ratio": median(found) / plain} for name, found in peaks.items()}
    return {"batch": MEMORY_BATCH, "summary": summary, "mb": peaks}


def _peak_of(model: str, contender: str, threads: int) -> float:
    command = [sys.executable, __file__, "--threads", str(threads), "--child", model, contender]
    environment = {**os.environ, **measure.ALLOCATOR}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"measuring {contender} on {model} failed:\n{done.stderr}")
    return float(json.loads(done.stdout.splitlines()[-1]))


def verdicts(found: Results) -> dict[str, bool]:
    """Which targets are met."""
    met = {}
    if "time" in found:
        summary = found["time"]["summary"]
        met["time"] = summary[ONE]["ratio"] <= TARGETS["time"]
        met["beyond torchcam"] = found["time"]["beyond_torchcam"] <= TARGETS["beyond torchcam"]
        met["eight"] = summary[EIGHT]["ratio"] <= TARGETS["eight"]
    if "memory" in found:
        met["memory"] = found["memory"]["summary"][ONE]["ratio"] <= TARGETS["memory"]
    return met


def tables(report: Results) -> list[Table]:
    models = report["models"]
    machine = report["machine"]
    where = f"{machine['cpu']}, {machine['threads']} thread(s) of {machine['cores']} cores"
    made = []
    if all("time" in found for found in models.values()):
        made.append(
            _time_table(models, f"Grad-CAM of one picture: time ÷ plain forward, median, quartiles\n{where}")
        )
    if all("memory" in found for found in models.values()):
        made.append(_memory_table(models, f"Peak memory above the loaded model, batch of {MEMORY_BATCH}"))
    return made


def _time_table(models: Results, title: str) -> Table:
    table = _table(title, ["forward", ONE, *PEERS, EIGHT, "− torchcam", "agree"])
    for model, found in models.items():
        summary, met, found_time = found["time"]["summary"], found["verdicts"], found["time"]
        row = [f"{summary['forward']['ms']:.0f} ms"]
        for name in (ONE, *PEERS, EIGHT):
            one = summary[name]
            mark = {ONE: _mark(met["time"]), EIGHT: _mark(met["eight"])}.get(name, "")
            spread = f"{one['ratio_q25']:.2f}–{one['ratio_q75']:.2f}"
            row.append(f"{one['ratio']:.2f}{mark}\n{spread}\n{one['ms']:.0f} ms")
        row.append(f"{found_time['beyond_torchcam']:+.2f}" + _mark(met["beyond torchcam"]))
        row.append(f"{min(found_time['correlation'].values()):.4f}")
        table.add_row(model, *row)
    table.add_section()
    limits = ["", f"≤ {TARGETS['time']}", "", "", "", f"≤ {TARGETS['eight']}"]
    table.add_row("target", *limits, f"≤ +{TARGETS['beyond torchcam']}", f"≥ {AGREE}")
    return table


def _memory_table(models: Results, title: str) -> Table:
    table = _table(title, ["forward", ONE, *PEERS])
    for model, found in models.items():
        row = []
        for name, one in found["memory"]["summary"].items():
            ratio = "" if name == "forward" else f"\n{one['ratio']:.2f}×"
            mark = _mark(found["verdicts"]["memory"]) if name == ONE else ""
            row.append(f"{one['mb']:.0f} MB{ratio}{mark}")
        table.add_row(model, *row)
    table.add_section()
    table.add_row("target", "", f"≤ {TARGETS['memory']}×")
    return table


def _table(title: str, columns: list[str]) -> Table:
    table = Table("model", title=title)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _mark(met: bool) -> str:
    return " [green]met[/]" if met else " [bold red]MISSED[/]"


def _write(report: Results, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
