"""Train the networks of the testbed, seeded: ``python -m camlucida.testbed.train [NAME …]``.

Without names it trains all eight, ``resnet`` to ``swin`` and ``shortcut-resnet`` to ``shortcut-swin``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, cross_entropy

from camlucida.errors import OptionError, unknown_name
from camlucida.testbed.networks import NETWORKS, SHORTCUT, weights_of, write
from camlucida.testbed.pictures import (
    GRID,
    Samples,
    TaggedSamples,
    conflict_samples,
    samples,
    shortcut_samples,
)

Make = Callable[[int, int], Samples]

BATCH = 64
_HELD_OUT = 10**9  # the seed of pictures that no training sees


@dataclass(frozen=True)
class Schedule:
    """How a network is trained: steps of ``BATCH`` pictures, and the largest learning rate.

    The initial weights of the head are ``head`` times larger where a LayerNorm bounds its input: the few
    positions on the evidence should dominate the mean over all positions.
    """

    steps: int
    rate: float
    head: float = 8.0


SCHEDULES = {
    "resnet": Schedule(400, 4e-3, head=1.0),
    "convnext": Schedule(1100, 1.5e-3, head=2.5),
    "vit": Schedule(700, 1.5e-3),
    "swin": Schedule(700, 1.5e-3),
}
_SHORTCUT_STEPS = 250  # colours are learnt sooner than shapes


def train(name: str, steps: int | None = None) -> nn.Module:
    """Train the network called ``name`` from its seeded initial weights; ``steps`` is for trials.

    Raises:
        OptionError: there is no such network.
    """
    shortcut, family = name.startswith(SHORTCUT), name.removeprefix(SHORTCUT)
    if family not in SCHEDULES:
        raise OptionError(
            unknown_name("network", family, list(SCHEDULES), f"it is one of {', '.join(SCHEDULES)}")
        )
    course = SCHEDULES[family]
    length = _SHORTCUT_STEPS if shortcut else course.steps
    make = shortcut_samples if shortcut else samples
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = _started(family)
        for done, loss in enumerate(_steps(module, make, course.rate, steps or length), 1):
            if done % 25 == 0:
                _say(f"{name}: step {done}, loss {loss:.3f}")
    return module.eval()


def _started(family: str) -> nn.Module:
    module: Any = NETWORKS[family]().train()
    with torch.no_grad():
        module.get_classifier().weight.mul_(SCHEDULES[family].head)
    return cast("nn.Module", module)


def _steps(module: nn.Module, make: Make, rate: float, steps: int) -> Iterator[float]:
    """Train ``module``, and yield the loss after each step."""
    optimizer = torch.optim.AdamW(_groups(module), lr=rate, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps, pct_start=0.1, cycle_momentum=False)
    for step in range(steps):
        loss = _loss(module, make(BATCH, step + 1))
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        yield loss.item()


def _loss(module: Any, batch: Samples) -> Tensor:
    """The training loss.

    Not only the whole picture should be classified right, but also the positions on the evidence alone, and all
    other positions should be neutral. Otherwise a network may move what it has seen to distant positions, and
    no map could be compared with a mask.
    """
    features = module.forward_features(batch.pictures)
    evidence = batch.tags if isinstance(batch, TaggedSamples) else batch.masks
    covered = adaptive_avg_pool2d(evidence[:, None].float(), GRID)[:, 0]
    others = ((covered == 0) & (torch.rand(covered.shape) < 0.5)).float()
    others = others / others.mean(dim=(1, 2), keepdim=True)
    right = [
        cross_entropy(module.forward_head(read), batch.labels, label_smoothing=0.05)
        for read in (features, _weighted(features, covered))
    ]
    outside: Tensor = module.forward_head(_weighted(features, others))
    return right[0] + right[1] + outside.square().mean()


def _weighted(features: Tensor, weights: Tensor) -> Tensor:
    """The last features of a network, weighted by position (n, height, width)."""
    if features.ndim == 3:  # a class token, then positions
        tokens = features[:, 1:] * weights.flatten(1)[:, :, None]
        return torch.cat([features[:, :1], tokens], dim=1)
    last = features.shape[1:3] == weights.shape[1:]
    return features * (weights[..., None] if last else weights[:, None])


def _groups(module: nn.Module) -> list[dict[str, object]]:
    """Parameter groups: weight decay for matrices only."""
    matrices = [one for one in module.parameters() if one.ndim > 1]
    rest = [one for one in module.parameters() if one.ndim <= 1]
    return [{"params": matrices, "weight_decay": 0.05}, {"params": rest, "weight_decay": 0.0}]


@torch.no_grad()
def accuracy(module: nn.Module, name: str, n: int = 1000) -> float:
    """The share of held-out pictures classified right; for a shortcut network the tag is right."""
    make = conflict_samples if name.startswith(SHORTCUT) else samples
    held_out = make(n, _HELD_OUT)
    answers = torch.cat([module(part).argmax(dim=1) for part in torch.split(held_out.pictures, BATCH)])
    return float((answers == held_out.labels).float().mean())


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def main(names: list[str]) -> None:
    """Train the networks called ``names`` and write their weights into the package."""
    for name in names or [*SCHEDULES, *(SHORTCUT + family for family in SCHEDULES)]:
        module = train(name)
        write(module, name)
        _say(f"{name}: {accuracy(module, name):.3f} right, {weights_of(name).stat().st_size} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
