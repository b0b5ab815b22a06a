"""The same model, or a part of it, used by another thread meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable
from copy import deepcopy
from itertools import product

import pytest
import torch
from test_custody import run_together
from torch import Tensor, nn

import snapshot
import zoo
from camlucida import Explainer
from camlucida.capture import borrow, borrow_lock
from camlucida.capture.borrow import borrowed
from camlucida.errors import LayerError
from camlucida.methods import registry

METHODS = list(registry.all_methods())
ROUNDS = 2


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


OF_TOKENS = ["ablationcam", "cam", "fullgrad", "gradcam", "scorecam", "shapleycam", "smoothgradcam++"]


@pytest.mark.parametrize(
    ("family", "method"),
    [*(("resnet", method) for method in METHODS), *product(("vit", "swin"), OF_TOKENS)],
)
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


def test_in_a_forked_child_what_another_thread_had_borrowed_is_given_back_and_the_lock_is_free() -> None:
    """By what runs in the child: forking while other threads run is not possible on every machine."""
    module = zoo.resnet().train()
    before, held = snapshot.take(module), borrow_lock.lock
    with borrowed(module):
        assert not module.training
        borrow._after_fork()
        after = snapshot.take(module)
        assert borrow_lock.lock is not held
    assert not [line for line in snapshot.differences(before, after) if line.startswith("model")]


def test_a_copy_is_explained_while_another_thread_trains_the_model() -> None:
    module = zoo.resnet().train()
    explainer, stop, modes = Explainer(module, copy=True), threading.Event(), list[bool]()
    optimizer = torch.optim.SGD(module.parameters(), lr=1e-3)

    def train() -> None:
        while not stop.is_set():
            optimizer.zero_grad()
            module(zoo.noise(2)).square().sum().backward()
            modes.append(module.training and all(one.grad is not None for one in module.parameters()))
            optimizer.step()

    def explain() -> None:
        try:
            for _ in range(4):
                explainer.explain(zoo.noise(), ["gradcam"], layers=["layer4"])
        finally:
            stop.set()

    run_together(train, explain)
    assert modes
    assert all(modes)
    (now,) = explainer.explain(zoo.noise(), layers=["layer4"])
    (alone,) = Explainer(deepcopy(module)).explain(zoo.noise(), layers=["layer4"])
    assert torch.equal(now.heatmap, alone.heatmap)
    storages = zip(module.parameters(), explainer.module.parameters(), strict=True)
    assert all(one.data_ptr() == other.data_ptr() for one, other in storages)


def test_a_copy_follows_weights_that_were_moved_or_replaced() -> None:
    module = zoo.resnet()
    explainer = Explainer(module, copy=True)
    module.load_state_dict(zoo.redraw(zoo.resnet(), seed=7).state_dict(), assign=True)
    (now,) = explainer.explain(zoo.noise(), layers=["layer4"])
    (alone,) = Explainer(module).explain(zoo.noise(), layers=["layer4"])
    assert torch.equal(now.heatmap, alone.heatmap)
