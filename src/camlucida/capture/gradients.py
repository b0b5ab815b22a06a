"""The gradients of a score, and clear errors where there are none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from camlucida.errors import LayerError, ModelError, NotFinite, is_out_of_memory


def check_finite(module: nn.Module, outputs: Tensor) -> None:
    """Refuse outputs (batch, classes) with NaN.

    Raises:
        NotFinite: there are such; it has the rows.
    """
    bad = outputs.isnan().flatten(1).any(dim=1).cpu().tolist()
    if any(bad):
        rows = [row for row, is_bad in enumerate(bad) if is_bad]
        which = (
            "this picture" if len(outputs) == 1 else "pictures " + ", ".join(map(str, rows)) + " of the batch"
        )
        raise NotFinite(
            f"{type(module).__name__} returns NaN for {which}: check its weights, its dtype "
            "(half precision overflows in some models) and the input's normalisation",
            rows,
        )


def gradients_of(score: Tensor, wanted: list[Any], retain: bool, record: bool) -> Sequence[Tensor | None]:
    """The gradients of a target's score, summed over the batch; None where it does not depend."""
    if not (wanted and score.requires_grad):
        return [None] * len(wanted)
    try:
        gradients: Sequence[Tensor | None] = torch.autograd.grad(
            score, wanted, torch.ones_like(score), retain or record, record, allow_unused=True
        )
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        raise ModelError(
            f"the model's own backward raises {type(error).__name__} ({error}): choose a later layer, or a "
            "method without gradients such as eigencam or scorecam"
        ) from error
    return gradients


def reached(
    layers: Sequence[str], kept: Sequence[Tensor], gradients: Sequence[Tensor | None], parts: frozenset[str]
) -> list[Tensor | None]:
    """The gradients; zero for a layer that is a part and that this score does not depend on.

    Raises:
        LayerError: the score depends on none of the parts, or not on another layer.
    """
    found = list(gradients)
    parts_reached = any(
        gradient is not None for name, gradient in zip(layers, gradients, strict=False) if name in parts
    )
    for place, (name, tensor) in enumerate(zip(layers, kept, strict=True)):
        if found[place] is None and name in parts and parts_reached:
            found[place] = torch.zeros_like(tensor)
        elif found[place] is None:
            raise LayerError(
                f"the score does not depend on layer {name!r}, or what lies behind it has no gradients (they "
                "are switched off, or its layers are quantised): choose a layer on the way to the logits "
                "(`camlucida layers MODEL` lists them), or a method without gradients, such as scorecam"
            )
    return found


def full_precision(tensor: Tensor) -> Tensor:
    """Half types as float32; others as they are."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
