"""What devices other than the CPU ask for, without having one."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import zoo
from by_hand import distance
from camlucida import Explainer, errors
from camlucida.capture.chunks import ChunkSize, in_chunks


def test_a_device_written_in_python_runs_every_method_and_the_drop_in() -> None:
    """In a process of its own, since a device changes the whole process."""
    suite = Path(__file__).parents[1] / "devices_suite.py"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", str(suite)]
    outer = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    run = subprocess.run(command, capture_output=True, text=True, env=outer, check=False)
    assert run.returncode == 0, run.stdout[-4000:]
    assert "passed" in run.stdout


def test_a_map_is_its_own_and_small() -> None:
    found = Explainer(zoo.resnet()).explain(zoo.noise(8), ["eigencam"], [1, 2])
    assert len(pickle.dumps(found[0].heatmap)) < 2000
    found[0].heatmap.zero_()
    assert found[1].heatmap.any()
    assert found[2].heatmap.any()


def test_chunks_are_of_one_size_where_runs_are_to_repeat() -> None:
    sizes: list[int] = []

    def run(indices: range) -> torch.Tensor:
        sizes.append(len(indices))
        return torch.zeros(len(indices))

    torch.use_deterministic_algorithms(True)
    try:
        in_chunks(run, 40, ChunkSize())
    finally:
        torch.use_deterministic_algorithms(False)
    assert set(sizes) == {4}


@pytest.mark.parametrize(
    "words",
    [
        "CUDA error: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "MPS backend out of memory (MPS allocated: 1 GB)",
    ],
)
def test_memory_that_ended_is_known_by_its_words(words: str) -> None:
    assert errors.is_out_of_memory(RuntimeError(words))
    assert not errors.is_out_of_memory(RuntimeError("CUDA error: device-side assert triggered"))


def test_making_an_explainer_leaves_the_generators_of_devices_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision

    seeded: list[int] = []
    module = torchvision.models.resnet18()
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    before = torch.get_rng_state()
    Explainer(module)
    Explainer("resnet10t", weights="random")
    assert seeded == []
    assert torch.equal(before, torch.get_rng_state())


def test_integers_and_weights_without_values_say_nothing_of_the_inputs_place() -> None:
    module = zoo.resnet()
    first = nn.Module()
    first.register_parameter("zero", nn.Parameter(torch.zeros(1, dtype=torch.int8), requires_grad=False))
    first.register_parameter("gone", nn.Parameter(torch.zeros(1, device="meta")))
    wrapped = nn.Sequential(first, copy.deepcopy(module))
    wrapped.forward = wrapped[1].forward
    (found,) = Explainer(wrapped).explain(zoo.noise(), targets=[1], layers=["1.layer4"])
    (expected,) = Explainer(module).explain(zoo.noise(), targets=[1], layers=["layer4"])
    assert (distance(found.heatmap[None], expected.heatmap[None]) < 1e-5).all()
