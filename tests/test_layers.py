"""Which layer is looked at, and that a number on the map belongs to its place in the picture."""

from collections.abc import Callable
from functools import cache, partial
from itertools import product

import pytest
import timm
import torch
from timm.layers import LayerNorm2d
from torch import Tensor, nn

import zoo
from camlucida.errors import LayerError
from camlucida.explainer import Explainer
from camlucida.layers.layout import Layout, layout_of
from camlucida.layers.locate import check_layer, default_layer, layout, prefix_tokens
from camlucida.layers.trace import trace

WIDE, TALL = (64, 96), (96, 64)  # (height, width)

# Layouts: (shape, input size, prefix tokens, kind, grid)

READ = {
    "NCHW": ((2, 32, 7, 7), (224, 224), None, "NCHW", (7, 7)),
    "NCHW, wide": ((2, 32, 2, 3), WIDE, None, "NCHW", (2, 3)),
    "NCHW, tall": ((2, 32, 3, 2), TALL, None, "NCHW", (3, 2)),
    "NCHW, one row": ((1, 32, 1, 3), (32, 96), None, "NCHW", (1, 3)),
    "NCHW, rounded up": ((1, 32, 7, 10), (197, 301), None, "NCHW", (7, 10)),
    "NCHW, rounded down": ((1, 32, 6, 9), (197, 301), None, "NCHW", (6, 9)),
    "NCHW, of the input's size": ((1, 32, 64, 96), WIDE, None, "NCHW", WIDE),
    "NCHW, one channel": ((1, 1, 7, 7), (224, 224), None, "NCHW", (7, 7)),
    "NHWC": ((2, 7, 7, 32), (224, 224), None, "NHWC", (7, 7)),
    "NHWC, wide": ((2, 2, 3, 32), WIDE, 0, "NHWC", (2, 3)),
    "NHWC, tall": ((2, 3, 2, 32), TALL, 0, "NHWC", (3, 2)),
    "NHWC, rounded up": ((1, 7, 10, 33), (197, 301), 0, "NHWC", (7, 10)),
    "tokens": ((2, 49, 32), (224, 224), 0, "tokens", (7, 7)),
    "tokens behind 1": ((2, 197, 32), (224, 224), 1, "tokens", (14, 14)),
    "tokens behind 2": ((2, 198, 32), (224, 224), 2, "tokens", (14, 14)),
    "tokens behind 5": ((2, 201, 32), (224, 224), 5, "tokens", (14, 14)),
    "tokens, wide": ((2, 24 + 1, 32), WIDE, 1, "tokens", (4, 6)),
    "tokens, tall": ((2, 24 + 5, 32), TALL, 5, "tokens", (6, 4)),
    "tokens, rounded up": ((2, 13 * 19, 32), (197, 301), 0, "tokens", (13, 19)),
    "tokens, rounded down": ((2, 12 * 18 + 1, 32), (197, 301), 1, "tokens", (12, 18)),
}


@pytest.mark.parametrize(("shape", "size", "prefix", "kind", "grid"), READ.values(), ids=READ.keys())
def test_a_shape_with_one_reading_is_read(
    shape: tuple[int, ...], size: tuple[int, int], prefix: int | None, kind: str, grid: tuple[int, int]
) -> None:
    found = layout_of(shape, size, prefix, nn.Identity())
    behind = prefix if kind == "tokens" else 0
    assert (found.kind, found.grid, found.prefix) == (kind, grid, behind)
    assert str(found).startswith(f"{kind} {grid[0]}×{grid[1]}")


# (shape, input size, prefix tokens, what the message says)
UNREAD = {
    "pooled": ((2, 32), (224, 224), 1, "fit no grid"),
    "pooled, dimensions kept": ((2, 32, 1, 1), (224, 224), None, "fit no grid"),
    "one token": ((2, 1, 32), (224, 224), 0, "fit no grid"),
    "prefix tokens alone": ((2, 1, 32), (224, 224), 1, "fit no grid"),
    "transposed": ((2, 32, 3, 2), WIDE, None, "fit no grid"),
    "another aspect ratio": ((2, 32, 7, 9), (224, 224), None, "fit no grid"),
    "a token too many": ((2, 198, 32), (224, 224), 1, "fit no grid"),
    "tokens of a model that is not known": ((2, 49, 32), (224, 224), None, "not known yet"),
    "volume": ((2, 32, 7, 7, 7), (224, 224), None, "fit no grid"),
    "scalar": ((), (224, 224), None, "fit no grid"),
}


@pytest.mark.parametrize(("shape", "size", "prefix", "message"), UNREAD.values(), ids=UNREAD.keys())
def test_a_shape_without_a_reading_is_refused(
    shape: tuple[int, ...], size: tuple[int, int], prefix: int | None, message: str
) -> None:
    with pytest.raises(LayerError, match=message):
        layout_of(shape, size, prefix, nn.Identity())


def _block_of_convnext() -> nn.Module:
    return zoo.convnext().stages[0].blocks[0]


class LayerNorm2dFp32(LayerNorm2d):
    """Called as timm calls it, where the 2d is not at the end."""


AMBIGUOUS = {
    "convolution": (lambda: nn.Conv2d(8, 8, 1), "NCHW"),
    "batch norm": (lambda: nn.BatchNorm2d(8), "NCHW"),
    "group norm": (lambda: nn.GroupNorm(2, 8), "NCHW"),
    "pooling": (lambda: nn.MaxPool2d(2), "NCHW"),
    "several convolutions": (lambda: nn.Sequential(nn.Conv2d(8, 8, 1), nn.ReLU(), nn.MaxPool2d(2)), "NCHW"),
    "layer norm": (lambda: nn.LayerNorm(8), "NHWC"),
    "linear": (lambda: nn.Linear(8, 8), "NHWC"),
    "several linears": (lambda: nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 8), nn.GELU()), "NHWC"),
    "layer norm over the channels of NCHW": (lambda: LayerNorm2d(8), "NCHW"),
    "the same in float32": (lambda: LayerNorm2dFp32(8), "NCHW"),
    "nothing tells": (nn.ReLU, None),
    "parts that differ": (_block_of_convnext, None),  # works in NHWC, returns NCHW
}


@pytest.mark.parametrize(("make", "kind"), AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
def test_a_shape_with_two_readings_is_settled_by_its_maker_or_refused(
    make: Callable[[], nn.Module], kind: str | None
) -> None:
    read = partial(layout_of, (1, 8, 8, 8), (64, 64), None, make())
    if kind is None:
        with pytest.raises(LayerError, match="can be read as NCHW 8×8 or as NHWC 8×8"):
            read()
    else:
        assert read().kind == kind


@pytest.mark.parametrize("layer", ["stem", "stages.0", "stages.0.blocks.0", "stages.0.blocks.0.norm"])
@pytest.mark.parametrize("family", ["convnext", "convnext_channels_first"])
def test_channels_as_many_as_rows_and_columns_are_not_taken_for_them(family: str, layer: str) -> None:
    """ConvNeXt-Base at 512 pixels has 128 channels on a 128×128 grid; here it is 16 of each."""
    module = zoo.FAMILIES[family]()
    shape = next(record.returns[0] for record in trace(module, zoo.noise()) if record.name == layer)
    assert shape == (1, 16, 16, 16)
    channels_last = family == "convnext" and layer.endswith("norm")
    try:
        found = layout_of(shape, (64, 64), None, module.get_submodule(layer)).kind
    except LayerError:
        return
    assert found == ("NHWC" if channels_last else "NCHW")


@pytest.mark.parametrize("grid", [(2, 3), (3, 2), (4, 4), (1, 5)], ids=str)
@pytest.mark.parametrize(
    ("kind", "prefix"), [("NCHW", 0), ("NHWC", 0), ("tokens", 0), ("tokens", 1), ("tokens", 5)], ids=str
)
def test_maps_are_those_of_an_explicit_loop(kind: str, prefix: int, grid: tuple[int, int]) -> None:
    batch, channels = 2, 7
    shapes = {
        "NCHW": (batch, channels, *grid),
        "NHWC": (batch, *grid, channels),
        "tokens": (batch, prefix + grid[0] * grid[1], channels),
    }
    tensor = torch.arange(float(torch.Size(shapes[kind]).numel())).reshape(shapes[kind])
    maps = Layout(kind, grid, prefix).to_maps(tensor)
    assert maps.shape == (batch, channels, *grid)
    for b, c, y, x in product(range(batch), range(channels), range(grid[0]), range(grid[1])):
        places = {"NCHW": (b, c, y, x), "NHWC": (b, y, x, c), "tokens": (b, prefix + y * grid[1] + x, c)}
        assert maps[b, c, y, x] == tensor[places[kind]]


# Default layers


FULL = {
    "resnet50": "layer4",
    "vit_base_patch16_224": "blocks.11.norm1",
    "swin_base_patch4_window7_224": "layers.3.blocks.1.norm2",
    "convnext_base": "stages.3.blocks.2.norm",
    "efficientnet_lite0": "bn2",
}


@pytest.mark.parametrize(("name", "layer"), FULL.items(), ids=FULL.keys())
def test_default_layers_of_the_full_models(name: str, layer: str) -> None:
    """Without weights and without arithmetic: shapes are all that counts."""
    with torch.device("meta"):
        module = timm.create_model(name).eval()
        inputs = torch.empty(1, 3, 224, 224)
    assert default_layer(module, trace(module, inputs), (224, 224)) == layer


def _distilled() -> nn.Module:
    settings = {"img_size": zoo.SIZE, "depth": 3, "embed_dim": 48, "num_heads": 3, "num_classes": 10}
    return zoo.redraw(timm.create_model("deit_tiny_distilled_patch16_224", **settings))


# name: (network, input size, default layer, layout there, a layer that has not mixed positions much yet)
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, int], str, str, str]] = {
    "resnet": (zoo.resnet, (64, 64), "layer4", "NCHW 2×2", "layer1"),
    "resnet, wide": (zoo.resnet, WIDE, "layer4", "NCHW 2×3", "layer1"),
    "resnet, tall": (zoo.resnet, TALL, "layer4", "NCHW 3×2", "layer2"),
    "resnet, odd": (zoo.resnet, (75, 101), "layer4", "NCHW 3×4", "layer1"),
    "convnext": (zoo.convnext, (64, 64), "stages.3.blocks.0.norm", "NHWC 2×2", "stages.1.downsample"),
    "convnext, wide": (zoo.convnext, WIDE, "stages.3.blocks.0.norm", "NHWC 2×3", "stages.1.downsample"),
    "convnext, tall": (zoo.convnext, TALL, "stages.3.blocks.0.norm", "NHWC 3×2", "stages.1.downsample"),
    "convnext, odd": (zoo.convnext, (75, 101), "stages.3.blocks.0.norm", "NHWC 2×3", "stages.1.downsample"),
    "convnext channels first, wide": (
        zoo.convnext_channels_first,
        WIDE,
        "stages.3.blocks.0.norm",
        "NCHW 2×3",
        "stages.1.downsample",
    ),
    "swin": (zoo.swin, (64, 64), "layers.3.blocks.1.norm2", "tokens 2×2", "layers.0.blocks.0"),
    "swin, wide": (
        partial(zoo.swin, img_size=WIDE),
        WIDE,
        "layers.3.blocks.1.norm2",
        "tokens 2×3",
        "layers.0.blocks.0",
    ),
    "swin, tall": (
        partial(zoo.swin, img_size=TALL),
        TALL,
        "layers.3.blocks.1.norm2",
        "tokens 3×2",
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
        "blocks.2.norm1",
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
    record = next(one for one in trace(module, inputs) if one.name == layer)
    found = layout(module, record, (inputs.shape[2], inputs.shape[3]))
    assert found is not None
    kept: list[Tensor] = []
    handle = record.module.register_forward_hook(lambda _part, _args, output: kept.append(output))
    with torch.no_grad():
        module(inputs)
    handle.remove()
    return found.to_maps(kept[0])


@pytest.mark.parametrize("place", [(0.1, 0.1), (0.1, 0.9), (0.9, 0.1), (0.6, 0.35)], ids=str)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_change_in_the_picture_is_found_at_its_place(name: str, place: tuple[float, float]) -> None:
    """What settles the order of rows and columns, and how many tokens to leave out, is where things happen."""
    _, (height, width), _, _, layer = NETWORKS[name]
    top, left = (int(share * size) // 16 * 16 for share, size in zip(place, (height, width), strict=True))
    inputs = zoo.noise(1, height, width)
    there = torch.zeros(height, width)
    there[top : top + 16, left : left + 16] = 3
    changed = inputs + there * zoo.noise(1, height, width, seed=9)
    change = (_maps(network(name), layer, changed) - _maps(network(name), layer, inputs)).norm(dim=1)[0]
    row, column = divmod(int(change.argmax()), change.shape[1])
    middle = ((row + 0.5) * height / change.shape[0], (column + 0.5) * width / change.shape[1])
    assert top <= middle[0] <= top + 16
    assert left <= middle[1] <= left + 16


def test_no_prefix_tokens_are_known_where_tokens_are_not_understood() -> None:
    assert prefix_tokens(zoo.vit(reg_tokens=2)) == 3
    assert prefix_tokens(zoo.swin()) == 0
    assert prefix_tokens(zoo.resnet()) is None
    assert prefix_tokens(nn.Linear(2, 2)) is None


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


def test_of_two_modules_that_return_the_same_map_the_outer_one_is_named() -> None:
    module = nn.Sequential(_plain(nn.ReLU()), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3))
    assert default_layer(module, trace(module, zoo.noise(1, *WIDE)), WIDE) == "0"


def _mixer() -> nn.Module:
    return timm.create_model("mixer_s32_224", num_classes=10, img_size=64).eval()


class Attending(nn.Module):
    """Mixes positions once more behind its last map, with functions that leave no module's trace."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3, 4, 1)
        self.mix = nn.Linear(16 * 16, 7)
        self.head = nn.Linear(7, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.mix(self.conv(inputs).flatten(2)).mean(1))


NO_DEFAULT = {
    "levit": (zoo.levit, 224),
    "mixer": (_mixer, 64),
    "positions mixed": (Attending, 64),
    "no map at all": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 3)), 64),
}


@pytest.mark.parametrize(("make", "size"), NO_DEFAULT.values(), ids=NO_DEFAULT.keys())
def test_a_network_that_ends_otherwise_is_refused_with_advice(make: Callable[[], nn.Module], size: int) -> None:
    with pytest.raises(LayerError, match=r"no default layer .* name one .*camlucida layers"):
        Explainer(make()).explain(zoo.noise(1, size, size))


def test_a_family_without_its_usual_layer_is_refused_with_advice() -> None:
    module = zoo.vit()
    del module.blocks[2].norm1
    with pytest.raises(LayerError, match=r"no layer 'blocks\.2\.norm1'.*name one"):
        default_layer(module, [], (64, 64))


# Names and traces


def test_a_layer_is_checked_by_name() -> None:
    module = zoo.resnet()
    assert check_layer(module, "layer4.0.conv2") == "layer4.0.conv2"
    for wrong, close in {
        "layer5": "'layer4'",
        "Layer4": "'layer4'",
        "layer4.0.conv9": "'layer4.0.conv1'",
    }.items():
        with pytest.raises(LayerError, match=f"did you mean .*{close}"):
            check_layer(module, wrong)
    for nothing in ("", "qqqq"):  # the model itself is no layer
        with pytest.raises(LayerError, match=r"is not known: `camlucida layers MODEL`"):
            check_layer(module, nothing)


def test_a_trace_records_in_order_and_removes_its_hooks() -> None:
    module = _plain(nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3))
    module = nn.Sequential(module, nn.Identity())
    records = trace(module, zoo.noise())
    assert [record.name for record in records] == [*(f"0.{i}" for i in range(7)), "0", "1"]
    assert [record.returns[0] for record in records] == [
        (1, 4, 32, 32),
        (1, 4, 32, 32),
        (1, 5, 16, 16),
        (1, 5, 16, 16),
        (1, 5, 1, 1),
        (1, 5),
        *[(1, 3)] * 3,
    ]
    assert all(record.module is module.get_submodule(record.name) for record in records)
    assert records[0].takes == ((1, 3, 64, 64),)
    assert records[2].same == records[3].same
    assert records[6].same == records[7].same == records[8].same
    assert len({record.same for record in records}) == 6
    assert not any(part._forward_hooks for part in module.modules())


def test_a_trace_removes_its_hooks_after_an_exception() -> None:
    module = _plain(nn.Flatten(), nn.Linear(1, 3))
    with pytest.raises(RuntimeError, match="shape"):
        trace(module, zoo.noise())
    assert not any(part._forward_hooks for part in module.modules())


def test_windows_have_no_layout() -> None:
    """Swin's attention returns (windows, tokens of one, channels), which is no picture's grid."""
    module = zoo.swin()
    found = {record.name: layout(module, record, (64, 64)) for record in trace(module, zoo.noise())}
    assert found["layers.0.blocks.0.attn"] is None
    assert str(found["layers.0.blocks.0"]) == "NHWC 16×16"


def test_attention_matrices_are_not_maps() -> None:
    """Tokens × tokens has the aspect ratio of a square picture."""
    module = zoo.vit()
    for block in module.blocks:
        block.attn.fused_attn = False
    found = {record.name: layout(module, record, (64, 64)) for record in trace(module, zoo.noise())}
    assert found["blocks.0.attn.attn_drop"] is None
    assert found["blocks.0.norm1"] is not None
