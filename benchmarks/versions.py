"""Whether explaining has become slower: an earlier source tree against this one, in turn, in one process.

python benchmarks/versions.py EARLIER/src [--rounds 9] [--parts gradcam …] [--models resnet50 …]

Each is in its own steady state when it is timed (``measure.seconds``); the order changes from round to round.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from importlib import import_module
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any

import torch
from rich.console import Console

import measure

HERE = Path(__file__).parent
MOST = 1.03  # times the earlier one
SEVEN = tuple(method for method in measure.EIGHT if method != "gradcam_elementwise")
PARTS: dict[str, tuple[int, tuple[str, ...]]] = {  # pictures at once, methods
    "gradcam": (1, ("gradcam",)),
    "gradcam, 8 pictures": (8, ("gradcam",)),
    "seven": (1, SEVEN),
    "fullgrad": (1, ("fullgrad",)),
    "ablationcam": (1, ("ablationcam",)),
    "scorecam": (1, ("scorecam",)),
}
Modules = dict[str, ModuleType]


def loaded(source: Path) -> Modules:
    """The package in ``source``, beside any other of its name: see ``using``."""
    sys.path.insert(0, str(source))
    try:
        _ = import_module("camlucida").Explainer  # wherever that tree has it
        return _taken_out()
    finally:
        sys.path.remove(str(source))


def _taken_out() -> Modules:
    names = [name for name in sys.modules if name.partition(".")[0] == "camlucida"]
    return {name: sys.modules.pop(name) for name in names}


@contextmanager
def using(modules: Modules, source: Path) -> Iterator[None]:
    """While entered, camlucida is this one, also for what it imports late."""
    sys.modules.update(modules)
    sys.path.insert(0, str(source))
    try:
        yield
    finally:
        sys.path.remove(str(source))
        modules.update(_taken_out())


def job(modules: Modules, source: Path, module: torch.nn.Module, layer: str) -> Callable[..., Any]:
    """What explains pictures by one of the two."""
    with using(modules, source):
        explainer = modules["camlucida"].Explainer(module)

    def run(batch: torch.Tensor, methods: tuple[str, ...]) -> None:
        explainer.explain(list(batch), methods, [7], [layer])

    return run


def compared(model: str, sides: dict[str, tuple[Modules, Path]], options: argparse.Namespace) -> dict[str, Any]:
    """By part: the seconds of each side, and the median of the rounds' ratios."""
    given = measure.job_for(model, 7)
    jobs = {name: job(*side, given.module, given.layer) for name, side in sides.items()}
    found: dict[str, Any] = {}
    for part in options.parts:
        count, methods = PARTS[part]
        batch, taken = measure.pictures(count), {name: list[float]() for name in sides}
        for number in range(options.rounds):
            for name in sorted(sides, reverse=bool(number % 2)):
                with using(*sides[name]):
                    contender = partial(_running, jobs[name], methods)
                    taken[name].append(measure.seconds(contender, given, batch))
        ratio = median(a / b for a, b in zip(taken["now"], taken["earlier"], strict=True))
        date = datetime.now(UTC).isoformat(timespec="seconds")
        found[part] = {"date": date, "ratio": ratio, "met": ratio <= MOST, "seconds": taken}
        Console().log(f"{model}, {part}: {ratio:.3f}")
    return found


@contextmanager
def _running(
    explain: Callable[..., Any], methods: tuple[str, ...], _: measure.Job
) -> Iterator[Callable[..., Any]]:
    yield lambda batch: explain(batch, methods)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("earlier", type=Path, help="the src folder of an earlier checkout")
    parser.add_argument("--rounds", type=int, default=9, help="how often each is timed (9)")
    parser.add_argument("--threads", type=int, default=1, help="torch's threads (1)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--models", nargs="+", choices=measure.MODELS, default=list(measure.MODELS))
    parser.add_argument("--out", type=Path, default=HERE / "results" / "versions.json")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    sources = {"earlier": options.earlier.resolve(), "now": HERE.parent / "src"}
    own = _taken_out()  # that measure works with
    sides = {name: (loaded(source), source) for name, source in sources.items()}
    sys.modules.update(own)
    report = {
        "machine": measure.machine(options.threads),
        "earlier": _commit(options.earlier),
        "most": MOST,
        "models": {},
    }
    before = json.loads(options.out.read_text(encoding="utf-8")) if options.out.is_file() else {}
    if before.get("earlier") == report["earlier"]:
        report["models"] = before["models"]  # parts that are not measured now stay, with their dates
    for model in options.models:
        report["models"].setdefault(model, {}).update(compared(model, sides, options))
        options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def _commit(source: Path) -> str:
    command = ["git", "-C", str(source), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    main()
