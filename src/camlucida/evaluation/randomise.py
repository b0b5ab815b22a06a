"""Copies of a model with more and more layers randomised, from the last one on (Adebayo 2018)."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy

import torch
from torch import nn

from camlucida.capture.borrow import unwrapped

STAGES = 4


def randomised(module: nn.Module, stages: int = STAGES, seed: int = 0) -> Iterator[nn.Module]:
    """Copies of ``module``, each with one ``stages``-th more of its layers randomised.

    The first has a new last layer alone, the last all. Weights and biases are drawn with the mean and
    deviation of those they replace, so that signals keep their size; running statistics stay.
    """
    copy = deepcopy(unwrapped(module))
    generator = torch.Generator().manual_seed(seed)
    layers = [part for part in copy.modules() if any(True for _ in part.parameters(recurse=False))]
    layers.reverse()
    done = 0
    for stage in range(stages):
        until = 1 if stage == 0 else round(len(layers) * stage / (stages - 1))
        for layer in layers[done:until]:
            _draw(layer, generator)
        done = max(done, until)
        yield copy if stage == stages - 1 else deepcopy(copy)


def _draw(layer: nn.Module, generator: torch.Generator) -> None:
    with torch.no_grad():
        for parameter in layer.parameters(recurse=False):
            if parameter.numel() > 1 and parameter.is_floating_point():
                drawn = torch.randn(parameter.shape, generator=generator, dtype=torch.float32)
                values = drawn.to(parameter)
                parameter.copy_(values * parameter.std(correction=0) + parameter.mean())
