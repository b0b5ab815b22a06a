"""The eight shapes: the distance of a point from each in units of its radius, negative inside."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

Shape = Callable[[Tensor, Tensor], Tensor]


def _disc(u: Tensor, v: Tensor) -> Tensor:
    return torch.hypot(u, v) - 0.9


def _square(u: Tensor, v: Tensor) -> Tensor:
    return _bar(u, v, 0.8, 0.8)


def _triangle(u: Tensor, v: Tensor) -> Tensor:
    slanted = u.abs() * math.cos(math.pi / 6) - (v - 0.25) * 0.5
    return torch.maximum(slanted, v - 0.25) - 0.65


def _plus(u: Tensor, v: Tensor) -> Tensor:
    return torch.minimum(_bar(u, v, 0.95, 0.32), _bar(u, v, 0.32, 0.95))


def _star(u: Tensor, v: Tensor) -> Tensor:
    # One fifth of the turn, folded in half: there the edge is a straight line from tip to notch.
    fifth = 2 * math.pi / 5
    angle = (torch.atan2(u, -v) % fifth - fifth / 2).abs()
    radius = torch.hypot(u, v)
    notch, tip = 0.5, 1.15
    across, along = notch * math.sin(fifth / 2), tip - notch * math.cos(fifth / 2)
    slope = math.hypot(across, along)
    # From the tip's ray: how far beyond the line through (tip, 0) and the notch.
    x, y = radius * torch.cos(fifth / 2 - angle), radius * torch.sin(fifth / 2 - angle)
    return ((x - tip) * across + y * along) / slope


def _half_disc(u: Tensor, v: Tensor) -> Tensor:
    return torch.maximum(torch.hypot(u, v + 0.45) - 1.15, -(v + 0.45))


def _angle(u: Tensor, v: Tensor) -> Tensor:
    return torch.minimum(_bar(u + 0.4, v, 0.35, 0.9), _bar(u, v - 0.55, 0.75, 0.35))


def _hourglass(u: Tensor, v: Tensor) -> Tensor:
    return torch.maximum(v.abs() - 0.9, (u.abs() - v.abs() * 0.85 - 0.2) * 0.76)


def _bar(u: Tensor, v: Tensor, half_width: float, half_height: float) -> Tensor:
    return torch.maximum(u.abs() - half_width, v.abs() - half_height)


SHAPES: dict[str, Shape] = {
    "disc": _disc,
    "square": _square,
    "triangle": _triangle,
    "plus": _plus,
    "star": _star,
    "half disc": _half_disc,
    "angle": _angle,
    "hourglass": _hourglass,
}
