"""All that can be seen of a module and of torch's global state, to compare before and after.

Written without a look at ``camlucida.capture.borrow``, so that custody does not grade itself: everything
reachable from the module's ``__dict__`` is walked, in order, and every tensor's bytes are kept.
"""

import random
from collections import UserDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import checkpoint

_PLAIN = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device, torch.Size)
_LISTED = 8


@dataclass(frozen=True)
class Snapshot:
    """``facts`` by where they were found; ``alive`` keeps objects, so that no identity is given twice."""

    facts: dict[str, Any]
    alive: dict[int, Any]


def take(module: nn.Module) -> Snapshot:
    snapshot = Snapshot({}, {})
    _walk("model", module, snapshot)
    snapshot.facts.update(_global_state())
    return snapshot


def differences(before: Snapshot, after: Snapshot) -> list[str]:
    """One line for each thing that came, went or changed."""
    lines = []
    for place in {**before.facts, **after.facts}:
        was, now = (one.facts.get(place, "absent") for one in (before, after))
        if was != now:
            lines.append(f"{place}: was {_short(was)}, is {_short(now)}")
    return lines


def assert_same(before: Snapshot, after: Snapshot) -> None:
    lines = differences(before, after)
    more = f"\n… and {len(lines) - _LISTED} more" if len(lines) > _LISTED else ""
    if lines:
        raise AssertionError("not as it was:\n" + "\n".join(lines[:_LISTED]) + more)


def _walk(place: str, value: Any, snapshot: Snapshot) -> None:
    if isinstance(value, _PLAIN):
        snapshot.facts[place] = (type(value).__name__, value)
        return
    snapshot.facts[place] = (type(value).__name__, id(value))
    if id(value) in snapshot.alive:
        return
    snapshot.alive[id(value)] = value
    if isinstance(value, Tensor):
        _walk_tensor(place, value, snapshot)
    elif isinstance(value, nn.Module):
        _walk(f"{place}.__dict__", value.__dict__, snapshot)
    elif isinstance(value, dict):
        snapshot.facts[f"{place} keys"] = [_key(key) for key in value]
        for key, inner in value.items():
            _walk(f"{place}[{key!r}]", inner, snapshot)
    elif isinstance(value, (list, tuple, deque)):
        snapshot.facts[f"{place} length"] = len(value)
        for index, inner in enumerate(value):
            _walk(f"{place}[{index}]", inner, snapshot)
    elif isinstance(value, (set, frozenset)):
        snapshot.facts[f"{place} members"] = {_key(inner) for inner in value}
    else:
        _walk_other(place, value, snapshot)


def _walk_other(place: str, value: Any, snapshot: Snapshot) -> None:
    """Arrays, generators, and helper objects of the tests' own models."""
    states: list[tuple[type | tuple[type, ...], Callable[[Any], Any]]] = [
        (np.ndarray, lambda array: array.tobytes()),
        (bytearray, bytes),
        (torch.Generator, lambda generator: _bytes(generator.get_state())),
        (np.random.Generator, lambda generator: repr(generator.bit_generator.state)),
        (random.Random, lambda generator: generator.getstate()),
    ]
    for kind, state in states:
        if isinstance(value, kind):
            snapshot.facts[f"{place} state"] = state(value)
    if type(value).__module__ == "test_custody_attributes" or isinstance(value, UserDict):
        if hasattr(value, "__dict__"):
            _walk(f"{place}.__dict__", value.__dict__, snapshot)
        for name in getattr(type(value), "__slots__", ()):
            _walk(f"{place}.{name}", getattr(value, name), snapshot)


def _walk_tensor(place: str, tensor: Tensor, snapshot: Snapshot) -> None:
    if tensor.layout is not torch.strided:
        tensor = tensor.to_dense()
    flags = (tensor.requires_grad, tensor.is_leaf, tensor.is_inference(), tensor.dtype, str(tensor.device))
    snapshot.facts[f"{place} flags"] = flags
    snapshot.facts[f"{place} shape"] = (tuple(tensor.shape), tensor.stride())
    snapshot.facts[f"{place} values"] = _bytes(tensor)
    if tensor.is_leaf:
        _walk(f"{place}.grad", tensor.grad, snapshot)


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().clone().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def _key(key: Any) -> Any:
    return (type(key).__name__, key if isinstance(key, _PLAIN) else id(key))


def _global_state() -> dict[str, Any]:
    return {
        "grad mode": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "autocast": (
            torch.is_autocast_enabled("cpu"),
            torch.get_autocast_dtype("cpu"),
            torch.is_autocast_cache_enabled(),
        ),
        "random state": _bytes(torch.get_rng_state()),
        "random state of NumPy": repr(np.random.get_state()),  # noqa: NPY002 - the process's
        "random state of Python": random.getstate(),
        "attention kernels": (
            torch.backends.cuda.flash_sdp_enabled(),
            torch.backends.cuda.mem_efficient_sdp_enabled(),
            torch.backends.cuda.cudnn_sdp_enabled(),
        ),
        "default dtype": torch.get_default_dtype(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "fused attention": torch.backends.mha.get_fastpath_enabled(),
        **{f"checkpoint.{name}": id(value) for name, value in vars(checkpoint).items()},
        **{f"nn.Module.{name}": id(value) for name, value in vars(nn.Module).items()},
    }


def _short(fact: Any) -> str:
    text = repr(fact)
    return text if len(text) < 80 else f"{text[:77]}…"
