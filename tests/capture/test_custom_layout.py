"""A layer's output read by the user's own function, and methods of one's own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import zoo
from camlucida import Explainer
from camlucida.capture.custom_layout import CustomLayout, read_by
from camlucida.capture.layout import Kind, Layout
from camlucida.errors import LayerError
from camlucida.methods.registry import Method
from camlucida.registry import Option, Paper

SIZE = (64, 64)
LAYER = "blocks.1.norm1"


def tokens(tensor: Tensor) -> Tensor:
    return tensor[:, 1:].transpose(1, 2).reshape(len(tensor), -1, 4, 4)


def columns_first(tensor: Tensor) -> Tensor:
    """Positions counted down and then across, which no layout of ours is."""
    return tokens(tensor).transpose(2, 3)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("kind", ["NCHW", "NHWC", "tokens", "channels-first tokens", "sequence-first tokens"])
@pytest.mark.parametrize("prefix", [0, 2])
def test_a_known_layout_is_known_again(kind: Kind, prefix: int, batch: int) -> None:
    layout = Layout(kind, (4, 8), 0 if kind in ("NCHW", "NHWC") else prefix)
    shape = {
        "NCHW": (batch, 12, 4, 8),
        "NHWC": (batch, 4, 8, 12),
        "tokens": (batch, 32 + prefix, 12),
        "channels-first tokens": (batch, 12, 32 + prefix),
        "sequence-first tokens": (32 + prefix, batch, 12),
    }[kind]
    assert read_by(layout.to_maps, torch.randn(shape), (64, 128)) == layout


def test_another_order_is_read_and_written() -> None:
    tensor = torch.randn(2, 17, 12)
    found = read_by(columns_first, tensor, SIZE)
    assert isinstance(found, CustomLayout)
    assert str(found) == "own 4×4"
    maps = found.to_maps(tensor)
    assert torch.equal(maps, columns_first(tensor))
    assert torch.equal(found.from_maps(maps, tensor), tensor)
    changed = found.from_maps(torch.zeros(3, 12, 4, 4), tensor[:1])
    assert torch.equal(changed[:, 0], tensor[:1, 0].expand(3, -1))
    assert not changed[:, 1:].any()


@pytest.mark.parametrize("function", [lambda x: 2 * tokens(x), lambda x: tokens(x).expand(-1, 12, 4, 4) + 0.5])
def test_what_computes_is_read_and_not_written(function: Callable[[Tensor], Tensor]) -> None:
    tensor = torch.randn(1, 17, 12)
    found = read_by(function, tensor, SIZE)
    assert torch.equal(found.to_maps(tensor), function(tensor))
    with pytest.raises(LayerError, match="choose and reorder"):
        found.from_maps(torch.zeros(1, 12, 4, 4), tensor)


def test_what_is_no_map_is_refused() -> None:
    with pytest.raises(LayerError, match="batch, channels, height, width"):
        read_by(lambda tensor: tensor, torch.randn(1, 17, 12), SIZE)


@pytest.mark.parametrize("method", ["gradcam", "ablationcam", "eigencam", "shapleycam"])
def test_it_takes_the_place_of_what_is_found(method: str) -> None:
    net, picture = zoo.vit(), zoo.noise()
    runs = []
    for reshape in (None, tokens, columns_first):
        (one,) = Explainer(net, reshape=reshape).explain(picture, [method], layers=[LAYER])
        runs.append(one)
    found, given, turned = (one.heatmap for one in runs)
    bound = 1e-4 * float(found.abs().max())  # ablation's small differences depend on the size of chunks
    assert torch.allclose(given, found, atol=bound)
    assert torch.allclose(turned.T, found, atol=bound)
    assert runs[2].provenance.layout == "own 4×4"


def test_nothing_is_found_out_where_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    def probed(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("camlucida.layers.inspector.survey", probed)
    monkeypatch.setattr("camlucida.layers.inspector.probe_evenly", probed)
    net = zoo.vit()
    Explainer(net, reshape=tokens).explain(zoo.noise(), layers=[LAYER])
    with pytest.raises(AssertionError):
        Explainer(net).explain(zoo.noise(), layers=[LAYER])


def own(activations: Tensor, gradients: Tensor, *, power: float = 1.0) -> Tensor:
    """Own.

    power: of the gradient
    """
    return activations * gradients**power


def test_a_method_of_ones_own_needs_no_registration() -> None:
    options = {"power": Option("power", 1.0, "of the gradient")}
    needs, nobody = ("activations", "gradients"), Paper("", 0, "", "")
    entry = Method("mine", own, "own", needs, options, nobody, "contributions", True, "1 forward")
    explainer, picture = Explainer(zoo.resnet()), zoo.noise()
    mine, known = explainer.explain(picture, [entry, "hirescam"])
    assert torch.equal(mine.heatmap, known.heatmap)
    assert mine.method == "mine"
    (other,) = explainer.explain(picture, [entry], options={"mine": {"power": 2.0}})
    assert not torch.equal(other.heatmap, known.heatmap)
