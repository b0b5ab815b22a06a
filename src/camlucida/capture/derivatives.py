"""Gradients for variants of the input, and second derivatives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.backends import cuda
from torch.nn.attention import SDPBackend, sdpa_kernel

from camlucida.capture.chunks import ChunkSize, in_chunks
from camlucida.capture.extra_inputs import variants_of_row
from camlucida.capture.hooks import record_outputs, single_output
from camlucida.capture.model_errors import ADVICE, VARIANT, own_errors
from camlucida.errors import LayerError
from camlucida.findings import memory_ended

if TYPE_CHECKING:
    from camlucida.capture.custom_layout import CustomLayout
    from camlucida.capture.layout import Layout
    from camlucida.findings import Finding
    from camlucida.targets.base import Bound
    from camlucida.types import MakeVariants

LARGEST = 8  # variants at once: what follows the layer is kept for each


@dataclass(frozen=True)
class VariantGradients:
    """A borrowed module, run on variants of its inputs; ``bound[t][i]`` is target t for picture i."""

    module: nn.Module
    layer: str
    layout: Layout | CustomLayout
    bound: Sequence[Sequence[Bound]]
    logits_of: Callable[[Any], Tensor]
    pace: ChunkSize = field(default_factory=lambda: ChunkSize(largest=LARGEST))

    def variant_gradients(self, make: MakeVariants, count: int, row: int) -> Tensor:
        """The gradients (count, targets, channels, height, width) at the layer (``types.VariantGradients``)."""

        def run(indices: range) -> Tensor:
            with torch.enable_grad(), record_outputs(self.module, [self.layer]) as taps:
                with own_errors(self.module, VARIANT, ADVICE):
                    output = self.module(make(indices))
                outputs = self.logits_of(output)
                kept = single_output(self.layer, taps[self.layer], len(indices))
                scores = [bound[row](outputs) for bound in self.bound]
            found = [_gradient(score, kept, retain=t < len(scores) - 1) for t, score in enumerate(scores)]
            return torch.stack([self.layout.to_maps(gradient) for gradient in found], dim=1)

        with variants_of_row(row):
            return in_chunks(run, count, self.pace)

    def findings(self, needs: Sequence[str]) -> tuple[Finding, ...]:
        """Findings from running variants for a method with such ``needs``."""
        ended = "variant_gradients" in needs and self.pace.retreated
        return (memory_ended("fewer variants of a picture"),) if ended else ()


def _gradient(score: Tensor, kept: Tensor, retain: bool) -> Tensor:
    """Zero where the score does not depend on the layer."""
    if not score.requires_grad:
        return torch.zeros_like(kept)
    (gradient,) = torch.autograd.grad(
        score, kept, torch.ones_like(score), retain_graph=retain, allow_unused=True, materialize_grads=True
    )
    return gradient


@contextmanager
def double_backward(wanted: bool) -> Iterator[None]:
    """While entered, attention can be differentiated twice, if ``wanted``: its fused kernels cannot.

    The choice of kernels is the process's, and put back twice, for an interrupt of the first.
    """
    if not wanted:
        yield
        return
    put_back = _attention_kernels()
    try:
        try:
            with sdpa_kernel(SDPBackend.MATH):
                yield
        finally:
            put_back()
    finally:
        put_back()


def _attention_kernels() -> Callable[[], None]:
    """What puts the choice of attention's kernels back."""
    kernels: Any = cuda  # whose functions have no types
    settings = [
        (kernels.enable_flash_sdp, kernels.flash_sdp_enabled()),
        (kernels.enable_mem_efficient_sdp, kernels.mem_efficient_sdp_enabled()),
        (kernels.enable_math_sdp, kernels.math_sdp_enabled()),
        (kernels.enable_cudnn_sdp, kernels.cudnn_sdp_enabled()),
    ]

    def put_back() -> None:
        for enable, before in settings:
            enable(before)

    return put_back


def hessian_product(name: str, kept: Tensor, gradient: Tensor | None, layout: Layout | CustomLayout) -> Tensor:
    """The score's Hessian at layer ``name`` times what the layer returned, ``kept``; like ``kept``.

    ``gradient`` is the gradient, recorded. Only positions take part: prefix tokens stay as they are.

    Raises:
        LayerError: an operation behind the layer has no second derivative.
    """
    if gradient is None or not gradient.requires_grad:  # the score is linear in the layer
        return torch.zeros_like(kept)
    positions = layout.from_maps(layout.to_maps(kept.detach()), torch.zeros_like(kept))
    try:
        (product,) = torch.autograd.grad(
            gradient, kept, positions, retain_graph=True, allow_unused=True, materialize_grads=True
        )
    except RuntimeError as error:
        if "not implemented" not in str(error):
            raise
        raise LayerError(
            f"an operation behind layer {name!r} cannot be differentiated twice ({error}): "
            "choose a later layer, or a method that needs no second derivatives, such as gradcam"
        ) from None
    return product
