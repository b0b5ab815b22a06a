"""Match the names of weights in a checkpoint to those of a network."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from camlucida.errors import CamlucidaWarning, ModelError, spoken

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

_SHOWN = 3  # names of each side, in a message


def merge_hint() -> str:
    """What to do with an adapter (LoRA)."""
    itself = spoken("a function that makes the model (`--model file.py:factory`)", "the module itself")
    return (
        f"merge it into its model first, merge_and_unload() in peft, and give what that saves, or give {itself}"
    )


def prefix_in(state: Mapping[str, Tensor], names: Collection[str]) -> str:
    """The prefix of a network's ``names`` in ``state``, such as Lightning's ``model.``.

    It is empty where the names fit as they are, or where none, or more than one, makes all of them fit.
    """
    if not names or all(name in state for name in names):
        return ""
    first = next(iter(names))
    prefixes = sorted({key.removesuffix(first) for key in state if key.endswith(f".{first}")}, key=len)
    fitting = [prefix for prefix in prefixes if all(f"{prefix}{name}" in state for name in names)]
    return fitting[0] if len(fitting) == 1 else ""


def stripped(state: Mapping[str, Tensor], prefix: str) -> Mapping[str, Tensor]:
    """``state`` under names without ``prefix``; what does not bear it, a loss or a metric, is left out."""
    if not prefix:
        return state
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def fitted(state: Mapping[str, Tensor], module: nn.Module, file: Path) -> Mapping[str, Tensor]:
    """``state`` under the names of ``module``; a warning says which prefix was taken away for that."""
    prefix = prefix_in(state, module.state_dict())
    kept = stripped(state, prefix)
    if prefix:
        left = len(state) - len(kept)
        beside = f" ({left} others are left out)" if left else ""
        message = f"names of weights in {file} begin with {prefix!r}, which is taken away{beside}"
        warnings.warn(message, CamlucidaWarning, stacklevel=2)
    return kept


def check_whole(state: Mapping[str, Tensor], file: Path) -> None:
    """Refuse the weights of an adapter (LoRA) without its network.

    Raises:
        ModelError: they are.
    """
    if any(".lora_" in key for key in state):
        raise ModelError(f"{file} holds only the weights of an adapter (LoRA): {merge_hint()}")


def unlike(state: Mapping[str, Tensor], module: nn.Module) -> str:
    """How the names differ, both sides shortened; empty where they are the same."""
    own = module.state_dict()
    missing = [name for name in own if name not in state]
    unknown = [name for name in state if name not in own]
    if not missing and not unknown:
        return ""
    return f"the file has {_some(unknown)}, the model has {_some(missing)}"


def _some(names: list[str]) -> str:
    if not names:
        return "nothing else"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def classes_in(state: Mapping[str, Tensor], module: nn.Module, classes: int) -> int:
    """How many classes a checkpoint has, that may have another head than ``module`` with its ``classes``.

    A head shows by what does not fit: tensors that differ in their first axis alone, which is the classes'.
    Where nothing, or something else, differs, it is ``classes``.
    """
    own = module.state_dict()
    state = stripped(state, prefix_in(state, own))
    differing = [
        (own[name], state[name]) for name in own.keys() & state.keys() if own[name].shape != state[name].shape
    ]
    counts = {int(theirs.shape[0]) for ours, theirs in differing if _differs_in_classes(ours, theirs, classes)}
    return counts.pop() if len(counts) == 1 else classes


def _differs_in_classes(ours: Tensor, theirs: Tensor, classes: int) -> bool:
    return ours.ndim > 0 and ours.shape[0] == classes and ours.shape[1:] == theirs.shape[1:]


def ends_in(module: nn.Module, classes: int, but: tuple[str, ...] = ()) -> bool:
    """Whether the last linear layer or convolution, of those whose names begin with none of ``but``, gives
    ``classes`` numbers.
    """
    from torch import nn

    layers = [
        part
        for name, part in module.named_modules()
        if isinstance(part, (nn.Linear, nn.Conv2d)) and not name.startswith(but)
    ]
    return bool(layers) and layers[-1].weight.shape[0] == classes
