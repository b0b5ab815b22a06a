"""FullGrad: the terms are found, they add up to the logit, and the map is the paper's."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

import zoo
from camlucida import Explainer
from camlucida.capture.bias_terms import BiasWatch
from camlucida.methods import registry
from oracles import methods as oracles

INDEX = 3


def efficientnet() -> nn.Module:
    """In-place ReLU6 inside timm's ``BatchNormAct2d``; so small that none reaches 6, another constant."""
    module = zoo.redraw(timm.create_model("tf_efficientnet_lite0", num_classes=10))
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.weight /= 4
    return module


class Plain(nn.Module):
    """Every operation that adds a bias, and a norm without one, between ReLUs."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(inplace=True),
            nn.Conv2d(6, 8, 3, stride=2, bias=False),
            nn.BatchNorm2d(8, affine=False),
            nn.ReLU(),
            nn.Flatten(),
            nn.LazyLinear(7),
            nn.BatchNorm1d(7),
            nn.ReLU(inplace=True),
            nn.Linear(7, 5),
        )
        self(torch.zeros(2, 3, 12, 12))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.parts(inputs)


RELU_NETWORKS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "resnet": (zoo.resnet, zoo.SIZE),
    "efficientnet": (efficientnet, 32),
    "plain": (lambda: zoo.redraw(Plain()), 12),
}


@dataclass
class Watched:
    """What a watch over one forward and one backward gives."""

    logit: float
    picture: Tensor
    gradient: Tensor
    watch: BiasWatch
    terms: list[Tensor] = field(default_factory=list)


@cache
def watched(network: str) -> Watched:
    build, size = RELU_NETWORKS[network]
    module, picture = build().double(), zoo.noise(1, size, size).double().requires_grad_()
    with BiasWatch(module) as watch:
        logit = module(picture)[0, INDEX]
    slopes = torch.autograd.grad(logit, [picture, *(one.edge for one in watch.found)])
    terms = [one.term(slope).detach() for one, slope in zip(watch.found, slopes[1:], strict=True)]
    return Watched(float(logit.detach()), picture.detach(), slopes[0], watch, terms)


@pytest.mark.parametrize("network", RELU_NETWORKS)
def test_the_terms_of_a_relu_network_add_up_to_the_logit(network: str) -> None:
    found = watched(network)
    total = (found.picture * found.gradient).sum() + sum(term.sum() for term in found.terms)
    assert abs(found.logit) > 0.01
    assert float(total) == pytest.approx(found.logit, abs=1e-8)


def test_every_bias_of_an_efficientnet_is_found() -> None:
    """Its norms have fused activations, so that hooks on modules see what is behind them."""
    module = efficientnet()
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
    others = [
        part for part in module.modules() if isinstance(part, (nn.Conv2d, nn.Linear)) and part.bias is not None
    ]
    assert len(norms) == 49
    assert len(watched("efficientnet").watch.found) == len(norms) + len(others)


# -- the same by another way ------------------------------------------------------------------------------


def by_differences(module: nn.Module, inputs: Tensor) -> list[np.ndarray]:
    """The terms by the chain rule from outside: every conv, linear and norm gets a bias of its own to vary.

    A zero tensor of the operation's output's shape is added behind it; its gradient is the operation's slope.
    """
    found: list[tuple[Tensor, Tensor]] = []

    def patched(real: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def run(*args: Any, **kwargs: Any) -> Tensor:
            output = real(*args, **kwargs)
            if real is functional.batch_norm:
                silent = torch.zeros_like(args[0])
                bias = real(silent, *args[1:], **kwargs)  # an affine map of zero is its bias
            else:
                given = list(args) if len(args) > 1 else [args[0], kwargs["weight"], kwargs.get("bias")]
                if (kwargs.get("bias") if "bias" in kwargs else given[2]) is None:
                    return output
                bias = real(torch.zeros_like(given[0]), *given[1:], **kwargs)
            probe = torch.zeros_like(output, requires_grad=True)
            found.append((bias.detach(), probe))
            return output + probe

        return run

    with pytest.MonkeyPatch.context() as patch:
        for name in ("batch_norm", "linear", "conv2d"):
            patch.setattr(functional, name, patched(getattr(functional, name)))
        score = module(inputs)[0, INDEX]
    slopes = torch.autograd.grad(score, [probe for _, probe in found])
    return [(bias * slope)[0].numpy() for (bias, _), slope in zip(found, slopes, strict=True)]


@pytest.mark.parametrize("network", RELU_NETWORKS)
def test_terms_are_those_of_another_way(network: str) -> None:
    build, size = RELU_NETWORKS[network]
    expected = by_differences(build().double(), zoo.noise(1, size, size).double())
    found = watched(network).terms
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one[0], torch.from_numpy(other), rtol=1e-9, atol=1e-10)


# -- the map ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", RELU_NETWORKS)
def test_the_map_equals_its_oracle(network: str) -> None:
    build, size = RELU_NETWORKS[network]
    module, inputs = build().double(), zoo.noise(1, size, size).double()
    layer = "parts.0" if network == "plain" else None
    (found,) = Explainer(module).explain(inputs, ["fullgrad"], [INDEX], [layer])
    terms = [term for term in by_differences(module, inputs) if term.ndim == 3 and term[0].size > 1]
    expected = oracles.fullgrad(inputs[0].numpy(), watched(network).gradient[0].numpy(), terms)
    assert found.heatmap.shape == (size, size)
    torch.testing.assert_close(found.heatmap.double(), torch.from_numpy(expected), rtol=1e-5, atol=1e-5)
    assert not zoo.is_flat(found.heatmap)
    assert found.findings == ()
    assert (found.provenance.layer, found.provenance.layout) == ("all layers", "input")


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_function_equals_its_oracle() -> None:
    inputs, gradients = drawn(2, 3, 9, 7, seed=0), drawn(2, 3, 9, 7, seed=1)
    terms = (drawn(2, 4, 3, 3, seed=2), drawn(2, 1, 9, 7, seed=3), torch.zeros(2, 2, 2, 2).double())
    result = registry.get_method("fullgrad").function(inputs, gradients, terms, 0)
    for i in range(2):
        expected = oracles.fullgrad(
            inputs[i].numpy(), gradients[i].numpy(), [term[i].numpy() for term in terms]
        )
        torch.testing.assert_close(result.values[i], torch.from_numpy(expected), rtol=1e-10, atol=1e-10)
    assert result.findings == ((), ())


@pytest.mark.parametrize("family", zoo.FAMILIES)
def test_pictures_and_targets_at_once_equal_one_at_a_time(family: str) -> None:
    explainer, pictures = Explainer(zoo.FAMILIES[family]().double()), zoo.noise(2)
    together = explainer.explain(pictures, ["fullgrad"], [None, INDEX])
    alone = [
        explainer.explain(picture, ["fullgrad"], [target])[0]
        for picture in pictures
        for target in (None, INDEX)
    ]
    for one, expected in zip(together, alone, strict=True):
        scale = float(expected.heatmap.max())
        torch.testing.assert_close(one.heatmap, expected.heatmap, rtol=0, atol=1e-5 * scale)
        assert one.index == expected.index


# -- token models -----------------------------------------------------------------------------------------


def captured(module: nn.Module) -> Any:
    """What the method is given of the first picture."""
    given: list[Any] = []
    entry = registry.get_method("fullgrad")

    def spy(*fields: Any) -> Any:
        given.extend(fields)
        return entry.function(*fields)

    Explainer(module).explain(zoo.noise(), [replace(entry, function=spy)], [INDEX])
    return given


def test_terms_of_a_vit_lie_on_its_grid() -> None:
    """The patches' convolution and, a block, norm1, qkv, proj, norm2, fc1, fc2; the last norm; not the head."""
    module = zoo.vit()
    _, _, terms, unplaced = captured(module)
    widths = [48, 144, 48, 48, 192, 48]
    assert unplaced == 0
    assert [tuple(term.shape) for term in terms] == [(1, width, 4, 4) for width in [48, *widths * 3, 48]]


def test_a_term_of_a_vit_leaves_the_class_token_out() -> None:
    module, inputs = zoo.vit().double(), zoo.noise().double()
    part = module.blocks[1].mlp.fc1
    kept: list[Tensor] = []

    def keep(_part: nn.Module, _args: Any, output: Tensor) -> None:
        output.retain_grad()
        kept.append(output)

    handle = part.register_forward_hook(keep)
    module(inputs)[0, INDEX].backward()
    handle.remove()
    expected = (kept[0].grad * part.bias)[0, 1:].detach().T.reshape(192, 4, 4)
    found = captured(module)[2][1 + 6 + 4][0]
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_terms_of_windows_are_counted_and_said() -> None:
    """The windows' qkv and proj of the earlier stages; where one window is the whole grid they have a place."""
    module = zoo.swin()
    (found,) = Explainer(module).explain(zoo.noise(), ["fullgrad"])
    _, _, terms, unplaced = captured(module)
    windowed = sum(2 for part in module.modules() if hasattr(part, "relative_position_bias_table"))
    assert 0 < unplaced <= windowed
    (note,) = (one for one in found.findings if one.code == "terms-left-out")
    assert f" {unplaced} operations" in note.found
    assert len(terms) > 20
    assert not zoo.is_flat(found.heatmap)


@pytest.mark.parametrize("family", ["resnet", "vit", "convnext", "convnext_channels_first"])
def test_nothing_is_left_out_elsewhere(family: str) -> None:
    assert captured(zoo.FAMILIES[family]())[3] == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_what_is_captured_of_a_half_precision_model_is_float32(dtype: torch.dtype) -> None:
    """Gradients of the input and of biases too, so that products and sums of them round as float32's."""
    plain = zoo.redraw(nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 5, 3, 2, 1), Mean()))
    half, picture = copy.deepcopy(plain).to(dtype), zoo.noise(1, 32, 32).to(dtype)
    rounded = copy.deepcopy(half).float()
    seen: list[torch.dtype] = []

    def own(input_gradients: Tensor, bias_terms: tuple[Tensor, ...]) -> Tensor:
        seen.extend(one.dtype for one in (input_gradients, *bias_terms))
        return input_gradients.abs().sum(dim=1)

    method = replace(
        registry.get_method("fullgrad"), name="own", function=own, needs=("input_gradients", "bias_terms")
    )
    Explainer(half).explain(picture, [method], [1])
    assert set(seen) == {torch.float32}
    assert len(seen) == 3
    (found,) = Explainer(half).explain(picture, ["fullgrad"], [1])
    (expected,) = Explainer(rounded).explain(picture.float(), ["fullgrad"], [1])
    together = torch.stack([found.heatmap.flatten(), expected.heatmap.flatten()])
    assert float(torch.corrcoef(together)[0, 1]) > 0.999


class Mean(nn.Module):
    """The mean over positions."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.mean(dim=(2, 3))
