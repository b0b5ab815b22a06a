"""What lending the model costs: outside a session, inside one, and a call of explain beside a plain forward.

python benchmarks/sessions.py [--rounds 50] [--models resnet50 …]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import torch
from rich.console import Console

import measure
from camlucida import Explainer
from camlucida.capture.borrow import borrowed

HERE = Path(__file__).parent
MOST = 1.0  # milliseconds of a borrow inside a session


def milliseconds(run: Callable[[], object], rounds: int) -> float:
    run()
    taken = []
    for _ in range(rounds):
        begun = time.perf_counter()
        run()
        taken.append((time.perf_counter() - begun) * 1e3)
    return median(taken)


def measured(model: str, rounds: int) -> dict[str, float | bool]:
    job = measure.job_for(model, 7)
    explainer, batch = Explainer(job.module), measure.pictures(1)

    def borrow() -> None:
        with borrowed(job.module):
            pass

    def forward() -> None:
        with torch.no_grad():
            job.module(batch)

    def explain() -> None:
        explainer.explain(batch, targets=[7])

    few = max(rounds // 5, 3)
    found = {"borrow": milliseconds(borrow, rounds), "explain": milliseconds(explain, few)}
    with explainer.session():
        found |= {"borrow in a session": milliseconds(borrow, rounds)}
        found |= {"explain in a session": milliseconds(explain, few)}
    return {**found, "forward": milliseconds(forward, few), "met": found["borrow in a session"] <= MOST}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50, help="how often each is timed (50)")
    parser.add_argument("--models", nargs="+", choices=measure.MODELS, default=list(measure.MODELS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    report = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": measure.machine(1),
        "unit": "milliseconds",
        "models": {model: measured(model, options.rounds) for model in options.models},
    }
    (HERE / "results" / "sessions.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    Console().print_json(data=report["models"])


if __name__ == "__main__":
    main()
