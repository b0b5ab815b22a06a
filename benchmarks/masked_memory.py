"""The peak memory of Score-CAM and Ablation-CAM, beside that of a plain forward of as many pictures at once.

python benchmarks/masked_memory.py [--models resnet50 vit_base_patch16_224]      (Linux only)
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

import measure
from masked import chunks

MOST = 1.5  # times a plain forward's
METHODS = ("scorecam", "ablationcam")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["resnet50", "vit_base_patch16_224"])
    parser.add_argument("--child", nargs=3, metavar=("MODEL", "WHAT", "PICTURES"), help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "masked-memory.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.child:
        model, what, count = options.child
        sys.stdout.write(json.dumps(_measured(model, what, int(count))) + "\n")
        return
    report: dict[str, Any] = {"date": datetime.now(UTC).isoformat(timespec="seconds")}
    report |= {"machine": measure.machine(1), "at most": MOST, "figures": []}
    for model in options.models:
        for method in METHODS:
            ours, at_once = _in_a_process(model, method, 1)
            plain, _ = _in_a_process(model, "forward", at_once)
            figure = {"model": model, "method": method, "at once": at_once, "MB": ours, "forward MB": plain}
            report["figures"].append({**figure, "ratio": ours / plain, "met": ours <= MOST * plain})
            sys.stdout.write(f"{report['figures'][-1]}\n")
            options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def _in_a_process(model: str, what: str, count: int) -> tuple[float, int]:
    command = [sys.executable, __file__, "--child", model, what, str(count)]
    done = subprocess.run(
        command, check=False, env={**os.environ, **measure.ALLOCATOR}, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"measuring {what} on {model} failed:\n{done.stderr}")
    peak, at_once = json.loads(done.stdout.splitlines()[-1])
    return peak, at_once


def _measured(model: str, what: str, count: int) -> tuple[float, int]:
    """The peak in MB above model and inputs, and how many variants were run at once at most."""
    job, pictures = measure.job_for(model, index=0), measure.pictures(count)
    made = measure.forward(job) if what == "forward" else measure.camlucida(job, (what,))
    with made as run, chunks() as seen:
        with measure.camlucida(job) as warm:
            warm(pictures[:1])  # what libraries set up on first use does not count
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
        before = measure._status("VmRSS")
        run(pictures)
        peak = (measure._status("VmHWM") - before) / 1024
    return peak, max((size for size, _ in seen), default=count)


if __name__ == "__main__":
    main()
