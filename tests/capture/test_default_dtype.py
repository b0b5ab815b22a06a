"""The caller's `torch.set_default_dtype` is the caller's: what is drawn by a seed does not follow it."""

from __future__ import annotations

from typing import Any

import torch

import zoo
from camlucida import Explainer, testbed
from camlucida.evaluation.randomise import randomised
from camlucida.metrics.controls import CONTROLS
from camlucida.metrics.registry import get_metric
from camlucida.pipeline.diagnosis import noise_for


def test_what_is_drawn_does_not_depend_on_the_default_dtype() -> None:
    """A seed says which noise, whatever the caller's `torch.set_default_dtype`."""
    picture = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
    heatmap = picture.mean(dim=0)
    net, noise = zoo.resnet(), zoo.noise()[0]

    def drawn() -> list[Any]:
        def score(make: Any, count: int) -> torch.Tensor:
            return make(range(count)).double().sum(dim=(1, 2, 3))

        return [
            *(control(picture, 3) for control in CONTROLS.values()),
            get_metric("pixel_flipping").function(heatmap, picture, 0.0, score, 5),
            get_metric("road_combined").function(heatmap, picture, score, 5),
            get_metric("max_sensitivity").function(heatmap, picture, lambda x: x.mean(dim=1), 5),
            next(randomised(net, seed=2)).fc.weight,
            testbed.samples(2, 7).pictures,
            noise_for(Explainer(net, preprocess="tutorial")),
            Explainer(net).explain(noise, ["smoothgradcam++"])[0].heatmap,
        ]

    plain = drawn()
    torch.set_default_dtype(torch.float64)
    try:
        other = drawn()
    finally:
        torch.set_default_dtype(torch.float32)
    for one, two in zip(plain, other, strict=True):
        if isinstance(one, torch.Tensor):
            assert one.dtype == two.dtype == torch.float32
            assert torch.equal(one, two)
        else:
            assert one == two
