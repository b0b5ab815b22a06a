"""Maps that cannot know anything of the model: a method that is no better than these explains nothing.

Each takes an input (input_channels, height, width) and a seed, and gives a map (height, width), not negative.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    Control = Callable[[Tensor, int], Tensor]

_GRID = (7, 7)  # of the last layer of most networks


def random_map(input: Tensor, seed: int = 0) -> Tensor:
    """Uniform noise of 7 × 7 positions, upsampled as maps are: as smooth as they are, unlike fine noise."""
    import torch
    from torch.nn.functional import interpolate

    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand((1, 1, *_GRID), generator=generator, dtype=torch.float32)
    return interpolate(noise, input.shape[-2:], mode="bilinear", align_corners=False)[0, 0]


def centred_gaussian(input: Tensor, seed: int = 0) -> Tensor:
    """A Gaussian at the centre, where photographers put objects; its σ is a quarter of each side."""
    import torch

    height, width = input.shape[-2:]
    places = (torch.arange(side, dtype=torch.float32) + 0.5 for side in (height, width))
    down, across = ((place / len(place) - 0.5) / 0.25 for place in places)
    return (-(down[:, None] ** 2 + across**2) / 2).exp()


def edge_map(input: Tensor, seed: int = 0) -> Tensor:
    """The magnitude of the grey input's Sobel gradient, smoothed with a σ of 1/32 of the shorter side.

    Grey is the mean over channels, of which there may be any number. Adebayo et al. (arXiv:1810.03292) show
    that some methods are hardly more than that.
    """
    import torch
    from torch.nn.functional import conv2d, pad

    grey = input.float().mean(dim=0)[None, None]
    slope = torch.tensor([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], dtype=torch.float32)
    padded = pad(grey, (1, 1, 1, 1), mode="replicate")  # a frame of zeros would be an edge
    across, down = conv2d(padded, torch.stack([slope, slope.T])[:, None])[0]
    sigma = min(input.shape[-2:]) / 32
    reach = max(1, round(3 * sigma))
    steps = torch.arange(-reach, reach + 1, dtype=torch.float32)
    bell = (-((steps / sigma) ** 2) / 2).exp()
    bell = bell / bell.sum()
    edges = pad(torch.hypot(across, down)[None, None], (reach,) * 4, mode="replicate")
    return conv2d(conv2d(edges, bell.view(1, 1, -1, 1)), bell.view(1, 1, 1, -1))[0, 0]


CONTROLS: dict[str, Control] = {"random-map": random_map, "centre": centred_gaussian, "edges": edge_map}
