"""A batch waits for the device a fixed number of times, whatever it is asked for."""

from collections import Counter
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import zoo
from camlucida import ClassProbability, Contrast, Explainer, TopClass
from camlucida.methods.registry import all_methods
from camlucida.pipeline.maps import host_copies

WAITS = ("_local_scalar_dense", "equal", "nonzero")
METHODS = [name for name in all_methods() if name not in ("cam", "finercam", "smoothgradcam++")]
MOST = 4  # two of a ResNet's buffers by type, one of random states, and one to spare


class Waits(TorchDispatchMode):
    """Counts operations whose result the host has to wait for."""

    def __init__(self) -> None:
        super().__init__()
        self.counted: Counter[str] = Counter()

    def __torch_dispatch__(self, function: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.name().partition("::")[2].partition(".")[0]
        if name in WAITS:
            self.counted[name] += 1
        return function(*args, **(kwargs or {}))


def waits(explainer: Explainer, count: int, methods: list[str], targets: list[Any], **how: Any) -> int:
    inputs = zoo.noise(count)
    explainer.explain(inputs, methods, targets, **how)  # layers are found out
    with Waits() as counter:
        found = explainer.explain(inputs, methods, targets, **how)
    assert len(found) == count * len(methods) * len(targets)
    return sum(counter.counted.values())


@pytest.fixture(scope="module")
def explainer() -> Explainer:
    return Explainer(zoo.resnet())


@pytest.mark.parametrize("smooth", [(), ("aug",), ("eigen",)])
def test_more_of_everything_waits_no_longer(explainer: Explainer, smooth: tuple[Any, ...]) -> None:
    few = waits(explainer, 1, ["gradcam"], [1], smooth=smooth)
    targets = [None, 1, Contrast(1, 2), ClassProbability(3), TopClass(2), lambda logits: logits[:, 0]]
    count = 1 if smooth == ("aug",) else 5  # a batch of each
    many = waits(explainer, count, METHODS, targets, smooth=smooth)
    assert waits(explainer, count, ["finercam"], [None, 1], smooth=smooth) <= MOST
    assert few <= MOST
    assert many <= MOST


def test_several_layers_wait_no_longer(explainer: Explainer) -> None:
    methods = ["gradcam", "refinecam", "eigencam"]
    with Waits() as counter:
        explainer.explain(zoo.noise(3), methods, [1, 2], ["layer3+layer4"])
    counter.counted.clear()
    with counter:
        explainer.explain(zoo.noise(3), methods, [1, 2], ["layer3+layer4"])
    assert sum(counter.counted.values()) <= MOST


def test_the_count_sees_a_wait() -> None:
    with Waits() as counter:
        float(torch.ones(1).sum())
        torch.ones(3).nonzero()
    assert counter.counted == {"_local_scalar_dense": 1, "nonzero": 1}


def test_tensors_on_the_host_are_not_copied() -> None:
    tensors = [torch.ones(2, 3), torch.zeros(4, dtype=torch.bool)]
    assert all(one is other for one, other in zip(host_copies(tensors), tensors, strict=True))
