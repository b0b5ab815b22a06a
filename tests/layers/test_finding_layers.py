"""Which layer is looked at by default, and that a number on the map belongs to its place in the picture."""

from collections.abc import Callable
from functools import cache, partial

import pytest
import timm
import torch
from torch import Tensor, nn

import zoo
from camlucida.capture.logits import logits_of
from camlucida.layers.inspector import LayerInspector
from camlucida.pipeline.explainer import Explainer

WIDE, TALL = (64, 96), (96, 64)  # (height, width)


def _distilled() -> nn.Module:
    settings = {"img_size": zoo.SIZE, "depth": 3, "embed_dim": 48, "num_heads": 3, "num_classes": 10}
    return zoo.redraw(timm.create_model("deit_tiny_distilled_patch16_224", **settings))


# name: (network, input size, default layer, layout there, a layer that has not mixed positions much yet)
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, int], str, str, str]] = {
    "resnet": (zoo.resnet, (64, 64), "layer4", "NCHW 2×2", "layer1"),
    "resnet, wide": (zoo.resnet, WIDE, "layer4", "NCHW 2×3", "layer1"),
    "resnet, tall": (zoo.resnet, TALL, "layer4", "NCHW 3×2", "layer2"),
    "resnet, odd": (zoo.resnet, (75, 101), "layer4", "NCHW 3×4", "layer1"),
    "convnext": (zoo.convnext, (64, 64), "stages", "NCHW 2×2", "stages.1.downsample"),
    "convnext, wide": (zoo.convnext, WIDE, "stages", "NCHW 2×3", "stages.1.downsample"),
    "convnext, tall": (zoo.convnext, TALL, "stages", "NCHW 3×2", "stages.1.downsample"),
    "convnext, odd": (zoo.convnext, (75, 101), "stages", "NCHW 2×3", "stages.1.downsample"),
    "convnext channels first, wide": (
        zoo.convnext_channels_first,
        WIDE,
        "stages",
        "NCHW 2×3",
        "stages.1.downsample",
    ),
    "swin": (zoo.swin, (64, 64), "norm", "NHWC 2×2", "layers.0.blocks.0"),
    "swin, wide": (
        partial(zoo.swin, img_size=WIDE),
        WIDE,
        "norm",
        "NHWC 2×3",
        "layers.0.blocks.0",
    ),
    "swin, tall": (
        partial(zoo.swin, img_size=TALL),
        TALL,
        "norm",
        "NHWC 3×2",
        "layers.0.blocks.0.norm2",
    ),
    "vit": (zoo.vit, (64, 64), "blocks.2.norm1", "tokens 4×4 behind 1", "blocks.0.norm1"),
    "vit, wide": (
        partial(zoo.vit, img_size=WIDE),
        WIDE,
        "blocks.2.norm1",
        "tokens 4×6 behind 1",
        "blocks.0.norm1",
    ),
    "vit, dynamic, wide": (
        partial(zoo.vit, dynamic_img_size=True),
        WIDE,
        "blocks.2.norm1",
        "tokens 4×6 behind 1",
        "blocks.0.norm1",
    ),
    "vit, dynamic, tall": (
        partial(zoo.vit, dynamic_img_size=True),
        TALL,
        "blocks.2.norm1",
        "tokens 6×4 behind 1",
        "blocks.0.norm1",
    ),
    "vit, registers": (
        partial(zoo.vit, reg_tokens=4, img_size=WIDE),
        WIDE,
        "blocks.2.norm1",
        "tokens 4×6 behind 5",
        "blocks.0.norm1",
    ),
    "vit, no class token": (
        partial(zoo.vit, class_token=False, global_pool="avg", img_size=TALL),
        TALL,
        "blocks",
        "tokens 6×4",
        "blocks.0.norm1",
    ),
    "deit, distilled": (_distilled, (64, 64), "blocks.2.norm1", "tokens 4×4 behind 2", "blocks.0.norm1"),
}


@cache
def network(name: str) -> nn.Module:
    return NETWORKS[name][0]()


@pytest.mark.parametrize("name", NETWORKS)
def test_the_default_layer_and_its_layout(name: str) -> None:
    _, size, layer, layout_there, _ = NETWORKS[name]
    (found,) = Explainer(network(name)).explain(zoo.noise(1, *size), ["hirescam"])
    assert (found.provenance.layer, found.provenance.layout) == (layer, layout_there)
    assert not zoo.is_flat(found.heatmap)


def _maps(module: nn.Module, layer: str, inputs: Tensor) -> Tensor:
    found = LayerInspector(module, logits_of).verdict_of(layer, inputs[0])
    assert found.verdict == "verified"
    kept: list[Tensor] = []
    handle = module.get_submodule(layer).register_forward_hook(lambda _part, _args, output: kept.append(output))
    with torch.no_grad():
        module(inputs)
    handle.remove()
    return found.layout.to_maps(kept[0])


PLACES = [(0.1, 0.1), (0.1, 0.9), (0.9, 0.1), (0.6, 0.35)]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_change_in_the_picture_is_found_at_its_place(name: str) -> None:
    """What settles the order of rows and columns, and how many tokens to leave out, is where things happen."""
    _, (height, width), _, _, layer = NETWORKS[name]
    corners = [(int(down * height) // 16 * 16, int(across * width) // 16 * 16) for down, across in PLACES]
    inputs = zoo.noise(1, height, width).repeat(1 + len(PLACES), 1, 1, 1)
    for changed, (top, left) in zip(inputs[1:], corners, strict=True):
        square = (slice(None), slice(top, top + 16), slice(left, left + 16))
        changed[square] += 3 * zoo.noise(1, height, width, seed=9)[0][square]
    maps = _maps(network(name), layer, inputs)
    for change, (top, left) in zip((maps[1:] - maps[0]).norm(dim=1), corners, strict=True):
        row, column = divmod(int(change.argmax()), change.shape[1])
        middle = ((row + 0.5) * height / change.shape[0], (column + 0.5) * width / change.shape[1])
        assert top <= middle[0] <= top + 16
        assert left <= middle[1] <= left + 16


# Networks of the user's own


class Own(nn.Module):
    """Two convolutions and a head that does away with positions in its own way."""

    def __init__(self, pool: Callable[[nn.Module, Tensor], Tensor], features: int = 5) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.second = nn.Conv2d(4, 5, 3, stride=2, padding=1)
        self.adaptive, self.flatten = nn.AdaptiveAvgPool2d(1), nn.Flatten()
        self.head = nn.Linear(features, 3)
        self.pool = pool

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.pool(self, self.second(self.first(inputs).relu()).relu()))


def _plain(*tail: nn.Module) -> nn.Module:
    """``2`` is the last map."""
    return nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 5, 3, 2, 1), *tail)


OWN = {
    "mean": (lambda: Own(lambda net, maps: maps.mean((2, 3))), "second"),
    "mean, twice": (lambda: Own(lambda net, maps: maps.mean(3).mean(2)), "second"),
    "largest": (lambda: Own(lambda net, maps: maps.amax((2, 3))), "second"),
    "flattened by a function": (lambda: Own(lambda net, maps: maps.flatten(1), 5 * 16 * 24), "second"),
    "flattened by a module": (lambda: Own(lambda net, maps: net.flatten(maps), 5 * 16 * 24), "second"),
    "pooled by a module": (lambda: Own(lambda net, maps: net.flatten(net.adaptive(maps))), "second"),
    "in a row": (lambda: _plain(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3)), "2"),
    "in a row, activated": (
        lambda: _plain(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3)),
        "3",
    ),
    "in a row, flattened": (lambda: _plain(nn.Flatten(), nn.Linear(5 * 16 * 24, 3)), "2"),
    "a smaller grid": (
        lambda: _plain(nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(), nn.Linear(5 * 8 * 12, 3)),
        "3",
    ),
}


@pytest.mark.parametrize(("make", "layer"), OWN.values(), ids=OWN.keys())
def test_a_convolutional_network_of_ones_own_is_looked_at_in_its_last_map(
    make: Callable[[], nn.Module], layer: str
) -> None:
    module = zoo.redraw(make())
    (found,) = Explainer(module).explain(zoo.noise(1, *WIDE), ["hirescam"])
    assert found.provenance.layer == layer
    assert not zoo.is_flat(found.heatmap)


class Nested(nn.Module):
    """Its body ends in a pool: a head where it is small, most of the network where it is not."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.ReLU())
        convolutions = [nn.Conv2d(16, width, 3, stride=2, padding=1), nn.ReLU()]
        self.body = nn.Sequential(*convolutions, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.fc = nn.Linear(width, classes)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.fc(self.body(self.stem(inputs)))


@pytest.mark.parametrize(
    ("width", "classes", "layer"), [(2, 400, "stem"), (32, 100, "body.1"), (32, 10, "body.1")]
)
def test_a_part_that_ends_in_a_pool_is_a_head_only_where_it_is_small(
    width: int, classes: int, layer: str
) -> None:
    """With an eighth of the parameters it is one; with half or nearly all, it is the network itself."""
    module = zoo.redraw(Nested(width, classes))
    body, whole = (sum(one.numel() for one in part.parameters()) for part in (module.body, module))
    share = body / whole
    assert (share < 0.25) == (layer == "stem"), share
    default = LayerInspector(module, logits_of).default(zoo.noise()[0])
    assert list(default.verdicts) == [layer]
