"""The process's random states, restored if a borrowed module has drawn."""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from camlucida.capture.random_draws import draws


@dataclass(frozen=True)
class RandomStates:
    """The process's random states: of torch on all devices in use, of Python and of NumPy."""

    tensors: list[Tensor]
    python: Any
    numpy: Any

    def differ(self, other: RandomStates) -> bool:
        """Whether anything was drawn between the two."""
        same = len(self.tensors) == len(other.tensors) and all(map(torch.equal, self.tensors, other.tensors))
        return not same or self.others_differ(other)

    def others_differ(self, other: RandomStates) -> bool:
        """The same of Python's and NumPy's."""
        return self.python != other.python or _numbers(self.numpy) != _numbers(other.numpy)


def random_states() -> RandomStates:
    """The current random states."""
    tensors = [torch.get_rng_state(), *(state for device in _in_use() for state in device.get_rng_state_all())]
    return RandomStates(tensors, random.getstate(), np.random.get_state(legacy=False))  # noqa: NPY002


class RandomWatch:
    """The process's random states, restored if the borrowed module has drawn.

    While other threads run, a thread would see its numbers again. Then torch's states are put back only if the
    module is known to draw, and those of Python and NumPy only if they changed while it ran.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._first = random_states()
        self._last: RandomStates | None = self._first  # after the last run; unknown where no thread was about
        self._elsewhere = False

    def watch(self, here: Callable[..., Any]) -> None:
        """Hook the module; ``here`` makes a hook that acts in this thread alone."""
        self._module.register_forward_pre_hook(here(self._before))
        self._module.register_forward_hook(here(self._after), always_call=True)

    def _before(self, *_: Any) -> None:
        if threading.active_count() > 1 and self._last is not None:
            self._elsewhere |= self._last.others_differ(random_states())

    def _after(self, *_: Any) -> None:
        self._last = random_states() if threading.active_count() > 1 else None

    def put_back(self) -> None:
        """All devices' states, if they have changed."""
        now = random_states()
        if not self._first.differ(now):
            return
        alone = threading.active_count() == 1
        if alone or draws(self._module):
            _set_devices(self._first.tensors)
        elsewhere = self._elsewhere or (self._last is not None and self._last.others_differ(now))
        if alone or not elsewhere:
            random.setstate(self._first.python)
            np.random.set_state(self._first.numpy)  # noqa: NPY002 - the user's own


def _set_devices(states: list[Tensor]) -> None:
    torch.set_rng_state(states[0])
    rest = states[1:]
    for device in _in_use():
        count = device.device_count()
        if len(rest) >= count:  # else it was not in use before
            device.set_rng_state_all(rest[:count])
        rest = rest[count:]


def _numbers(state: Any) -> tuple[bytes, Any]:
    inner = state["state"]
    return inner["key"].tobytes(), (inner["pos"], state["has_gauss"], state["gauss"])


def _in_use() -> list[Any]:
    """Torch's modules of the kinds of device that somebody has used in this process."""
    modules = [sys.modules.get(f"torch.{name}") for name in ("cuda", "xpu")]
    return [one for one in modules if one is not None and one.is_available() and one.is_initialized()]
