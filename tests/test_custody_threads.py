"""The same model, or a part of it, used by another thread meanwhile."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import snapshot
import zoo
from camlucida import Explainer, registry
from camlucida.errors import LayerError
from test_custody import run_together

METHODS = list(registry.entries())
ROUNDS = 3


def plainly(module: nn.Module, inputs: Tensor, stop: threading.Event, wrong: list[str]) -> Callable[[], None]:
    """Run the model again and again, as somebody who knows nothing of explanations."""
    with torch.no_grad():
        expected = module(inputs)

    def job() -> None:
        while not stop.is_set():
            try:
                with torch.no_grad():
                    output = module(inputs)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is what the test looks for
                wrong.append(repr(error))
                return
            if not torch.allclose(output, expected, atol=1e-4):
                wrong.append("another output")
                return

    return job


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", ["resnet", "vit", "swin"])
def test_a_thread_that_runs_the_model_sees_nothing(family: str, method: str) -> None:
    module = zoo.FAMILIES[family]()
    explainer, stop, wrong = Explainer(module), threading.Event(), list[str]()

    def explain() -> None:
        try:
            for seed in range(ROUNDS):
                explainer.explain(zoo.noise(seed=seed), [method])
        except LayerError:
            assert (family, method) == ("vit", "cam")  # no mean over positions follows there
        finally:
            stop.set()

    before = snapshot.take(module)
    run_together(explain, plainly(module, zoo.noise(2, seed=9), stop, wrong))
    assert not wrong
    snapshot.assert_same(before, snapshot.take(module))


class WithRow(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)

    def forward(self, inputs: Tensor, row: Tensor) -> Tensor:
        return self.head(self.conv(inputs).mean((2, 3)) * row)


def test_extra_inputs_in_four_threads_leave_no_hooks() -> None:
    module = zoo.redraw(WithRow())
    before = snapshot.take(module)
    row = torch.ones(1, 4)
    (alone,) = Explainer(module, args=[row]).explain(zoo.noise(), layers=["conv"])
    found: list[Tensor] = []

    def job() -> None:
        for _ in range(5):
            (one,) = Explainer(module, args=[row]).explain(zoo.noise(), layers=["conv"])
            found.append(one.heatmap)

    run_together(*[job] * 4)
    assert len(found) == 20
    assert all(torch.equal(one, alone.heatmap) for one in found)
    snapshot.assert_same(before, snapshot.take(module))


def test_a_net_and_its_wrapper_are_lent_one_after_the_other() -> None:
    net = zoo.resnet().train()
    wrapper = nn.Sequential(net, nn.Identity())
    states = [snapshot.take(one) for one in (net, wrapper)]

    def job(module: nn.Module, layer: str) -> Callable[[], None]:
        return lambda: [Explainer(module).explain(zoo.noise(), layers=[layer]) for _ in range(3)] and None

    run_together(job(net, "layer4"), job(wrapper, "0.layer4"), job(net, "layer3"))
    for state, module in zip(states, (net, wrapper), strict=True):
        snapshot.assert_same(state, snapshot.take(module))
    net(zoo.noise(2)).sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_targets_that_explain_each_others_model_come_to_an_end() -> None:
    one, other = zoo.resnet(), zoo.resnet()

    def of(module: nn.Module) -> Callable[[Tensor], Tensor]:
        def target(logits: Tensor) -> Tensor:
            (inner,) = Explainer(module).explain(zoo.noise(), layers=["layer4"])
            return logits[:, 0] * float(inner.score > -1e9)

        return target

    def job(module: nn.Module, target: Callable[[Tensor], Tensor]) -> Callable[[], None]:
        return lambda: Explainer(module).explain(zoo.noise(), targets=[target], layers=["layer4"]) and None

    run_together(job(one, of(other)), job(other, of(one)))


def test_second_derivatives_in_two_threads_leave_attentions_kernels_on() -> None:
    models = [zoo.vit(), zoo.vit()]
    before = torch.backends.cuda.flash_sdp_enabled()

    def job(module: nn.Module) -> Callable[[], None]:
        return lambda: [Explainer(module).explain(zoo.noise(), ["shapleycam"]) for _ in range(3)] and None

    run_together(*map(job, models))
    assert torch.backends.cuda.flash_sdp_enabled() is before


def test_numbers_that_another_thread_draws_are_not_drawn_again() -> None:
    module, drawn, stop = zoo.resnet(), list[float](), threading.Event()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)

        def draw() -> None:
            while not stop.is_set() or len(drawn) < 100:
                drawn.append(float(torch.rand(1)))

        def explain() -> None:
            for _ in range(3):
                Explainer(module).explain(zoo.noise())
            stop.set()

        run_together(draw, explain)
        torch.manual_seed(3)
        assert drawn == [float(torch.rand(1)) for _ in drawn]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_that_is_forked_meanwhile_can_explain_and_train() -> None:
    module = zoo.resnet().train()
    inside, forked = threading.Event(), threading.Event()

    def target(logits: Tensor) -> Tensor:
        inside.set()
        assert forked.wait(60)
        return logits[:, 0]

    def explain() -> None:
        Explainer(module).explain(zoo.noise(), targets=[target], layers=["layer4"])

    status: list[Any] = []

    def fork() -> None:
        assert inside.wait(60)
        child = os.fork()
        if child == 0:
            frozen = not all(parameter.requires_grad for parameter in module.parameters())
            (found,) = Explainer(module).explain(zoo.noise(), layers=["layer4"])
            os._exit(int(frozen) + 2 * int(not module.training) + 4 * zoo.is_flat(found.heatmap))
        forked.set()
        status.append(os.waitpid(child, 0)[1])

    run_together(explain, fork)
    assert status == [0]
