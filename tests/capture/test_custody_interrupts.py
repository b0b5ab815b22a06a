"""Ctrl-C at any moment: what was lent is given back whole, and so is the process."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils import checkpoint

import camlucida
import snapshot
import zoo
from camlucida import Explainer
from camlucida.capture import borrow, borrow_lock
from camlucida.capture.borrow import borrowed
from camlucida.capture.derivatives import double_backward

OURS = str(Path(camlucida.__file__).parent)


class Writing(nn.Module):
    """Writes to itself in several ways, and has parts of each kind that lending changes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.head = nn.Linear(4, 3)
        self.register_buffer("count", torch.zeros(2))
        self.seen, self.last = [1], {"a": 1}
        self.gradient_checkpointing = True
        self.conv.register_full_backward_hook(lambda *_: None)

    def forward(self, inputs: Tensor) -> Tensor:
        self.count += 1
        self.seen.append(2)
        self.last["b"] = 2
        return self.head(self.conv(inputs).mean((2, 3)))


def interrupted_at(number: int, run: Callable[[], object], interrupt: Callable[[], None]) -> bool:
    """Interrupt ``run`` at the ``number``-th line of ours that it comes to; False if there are fewer."""
    passed = [0]

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if not frame.f_code.co_filename.startswith(OURS):
            return None
        if event == "line":
            passed[0] += 1
            if passed[0] == number:
                sys.settrace(None)
                interrupt()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        with suppress(KeyboardInterrupt):
            run()
    finally:
        sys.settrace(before)
    return passed[0] >= number


def is_free(lock: threading.RLock) -> bool:
    """For other threads; to this one it would look free whatever it still holds."""
    found: list[bool] = []

    def tried() -> None:
        found.append(lock.acquire(timeout=0.2))
        if found[0]:
            lock.release()

    thread = threading.Thread(target=tried)
    thread.start()
    thread.join()
    return found[0]


def raised() -> None:
    raise KeyboardInterrupt


def signalled() -> None:
    """As the terminal does it; a second one arrives at once."""
    signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGINT)


INTERRUPTS = {"raised": raised, "signalled": signalled}


@pytest.fixture(autouse=True)
def _default_handler() -> Any:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("interrupt", INTERRUPTS.values(), ids=INTERRUPTS)
def test_at_every_line_of_borrow_and_return(interrupt: Callable[[], None]) -> None:
    module = Writing().train()
    module.head.weight.requires_grad_(False)
    inputs = zoo.noise()
    state = snapshot.take(module)

    def run() -> None:
        with borrowed(module), double_backward(True):
            module(inputs)

    number = 0
    while True:
        number += 1
        reached = interrupted_at(number, run, interrupt)
        snapshot.assert_same(state, snapshot.take(module))
        assert not borrow._loans
        assert is_free(borrow_lock.lock)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if not reached:
            break
    assert number > 200


@pytest.mark.parametrize("interrupt", INTERRUPTS.values(), ids=INTERRUPTS)
@pytest.mark.parametrize("method", ["gradcam", "ablationcam", "fullgrad", "shapleycam", "scorecam"])
def test_at_lines_all_over_an_explanation(method: str, interrupt: Callable[[], None]) -> None:
    module = Writing().train()
    explainer, inputs = Explainer(module), zoo.noise(1, 8, 8)

    def run() -> None:
        explainer.explain(inputs, [method], [1], ["conv"])

    run()
    state = snapshot.take(module)
    total = [0]

    def count(frame: FrameType, event: str, _: Any) -> Any:
        if not frame.f_code.co_filename.startswith(OURS):
            return None
        total[0] += event == "line"
        return count

    sys.settrace(count)
    run()
    sys.settrace(None)
    for number in range(1, total[0], max(1, total[0] // 40)):
        interrupted_at(number, run, interrupt)
        snapshot.assert_same(state, snapshot.take(module))
        assert is_free(borrow_lock.lock)
    run()


def test_compiled_code_is_compiled_again_after_an_interrupt() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    compiled = torch.compile(module, backend="eager")
    inputs = zoo.noise(1, 8, 8)
    compiled(inputs)
    dynamo: Any = sys.modules["torch._dynamo.eval_frame"]
    originals = vars(checkpoint)["CheckpointFunction"]
    stances = set()

    def run() -> None:
        with borrowed(module):
            stances.add(dynamo._stance.stance)

    number, reached = 0, True
    while reached:
        number += 1
        reached = interrupted_at(number, run, signalled)
        assert dynamo._stance.stance == "default"
        assert checkpoint.CheckpointFunction is originals
    assert stances == {"force_eager"}
