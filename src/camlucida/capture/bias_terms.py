"""The bias of every operation that has one, explicit or implicit, caught where it is added.

At the operation and not at the module, since modules fuse operations (timm's ``BatchNormAct2d``), and before
any activation, fused or in place, behind it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from camlucida.capture.hooks import is_mapped

_STATISTICS = ("running_mean", "running_var")
_ARGUMENTS = {
    functional.batch_norm: ("input", *_STATISTICS, "weight", "bias", "training", "momentum", "eps"),
    functional.layer_norm: ("input", "normalized_shape", "weight", "bias", "eps"),
    functional.group_norm: ("input", "num_groups", "weight", "bias", "eps"),
    functional.linear: ("input", "weight", "bias"),
    functional.conv1d: ("input", "weight", "bias"),
    functional.conv2d: ("input", "weight", "bias"),
    functional.conv3d: ("input", "weight", "bias"),
}
_CHANNELS_LAST = (functional.layer_norm, functional.linear)


@dataclass(frozen=True)
class Biased:
    """Where an operation that adds ``bias`` (channels,) puts its output, with its channels last or second.

    ``edge`` stands for the output as it was, whatever is written to it afterwards.
    """

    edge: GradientEdge
    bias: Tensor
    channels_last: bool

    def term(self, gradient: Tensor) -> Tensor:
        """The bias times the gradient of the score with respect to the output, of the output's shape."""
        trailing = 0 if self.channels_last else gradient.ndim - 2
        return gradient * self.bias.view(-1, *(1,) * trailing)


class BiasWatch(TorchFunctionMode):
    """While entered, ``found`` collects every operation that adds a bias and has a gradient.

    ``unseen`` counts those of ``module`` inside TorchScript and ``torch.vmap``.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.found: list[Biased] = []
        self.unseen = _scripted_biases(module)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        names = _ARGUMENTS.get(func)
        if names is None:
            return output
        bias = _bias(func, dict(zip(names, args, strict=False)) | (kwargs or {}))
        if bias is not None and is_mapped(output):
            self.unseen += 1
        elif bias is not None and output.requires_grad:
            edge = get_gradient_edge(output)
            self.found.append(Biased(edge, bias.detach(), func in _CHANNELS_LAST))
        return output


def _scripted_biases(module: nn.Module) -> int:
    """How many biases stand inside TorchScript; one for a frozen stage, which does not say."""
    count = 0
    for part in module.modules():
        if isinstance(part, torch.jit.ScriptModule):
            frozen = not part._c.hasattr("training")
            count += frozen or any(name in ("bias", "running_mean") for name in _own_names(part))
    return count


def _own_names(part: nn.Module) -> list[str]:
    named = (*part.named_parameters(recurse=False), *part.named_buffers(recurse=False))
    return [name for name, _ in named]


def _bias(func: Callable[..., Any], given: dict[str, Any]) -> Tensor | None:
    """What the operation adds to each channel; for batch norm in evaluation, bias - mean · scale."""
    bias: Tensor | None = given.get("bias")
    if func is not functional.batch_norm:
        return bias if bias is None or bias.ndim == 1 else bias.flatten()
    if given.get("training") or given.get("running_mean") is None:
        return bias
    scale: Tensor = (given["running_var"] + given.get("eps", 1e-5)).rsqrt()
    if given.get("weight") is not None:
        scale = scale * given["weight"]
    implicit: Tensor = -given["running_mean"] * scale
    return implicit if bias is None else implicit + bias
