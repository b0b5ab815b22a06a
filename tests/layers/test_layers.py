"""What a layer's numbers mean: shapes, autograd's graph, and the probe that tells which reading is right."""

from collections.abc import Callable
from itertools import product

import pytest
import torch
from torch import Tensor, nn

import zoo
from camlucida.capture.layout import Layout, readings
from camlucida.layers.paths import Paths, edge_of
from camlucida.layers.perturbation import BANDS, PICTURES, changes, mean_of, pictures
from camlucida.layers.probe import probe, score_layouts
from camlucida.layers.trace import traced

WIDE, TALL = (64, 96), (96, 64)  # (height, width)

# Shapes: (shape for a batch of two, input size, the likeliest reading)

READ = {
    "NCHW": ((2, 32, 7, 7), (224, 224), Layout("NCHW", (7, 7))),
    "NCHW, wide": ((2, 32, 2, 3), WIDE, Layout("NCHW", (2, 3))),
    "NCHW, tall": ((2, 32, 3, 2), TALL, Layout("NCHW", (3, 2))),
    "NCHW, one row": ((2, 32, 1, 3), (32, 96), Layout("NCHW", (1, 3))),
    "NCHW, rounded up": ((2, 32, 7, 10), (197, 301), Layout("NCHW", (7, 10))),
    "NCHW, rounded down": ((2, 32, 6, 9), (197, 301), Layout("NCHW", (6, 9))),
    "NCHW, of the input's size": ((2, 32, 64, 96), WIDE, Layout("NCHW", WIDE)),
    "NCHW, one channel": ((2, 1, 7, 7), (224, 224), Layout("NCHW", (7, 7))),
    "NHWC": ((2, 7, 7, 32), (224, 224), Layout("NHWC", (7, 7))),
    "NHWC, wide": ((2, 2, 3, 32), WIDE, Layout("NHWC", (2, 3))),
    "NHWC, tall": ((2, 3, 2, 32), TALL, Layout("NHWC", (3, 2))),
    "NHWC, rounded up": ((2, 7, 10, 33), (197, 301), Layout("NHWC", (7, 10))),
    "tokens": ((2, 49, 32), (224, 224), Layout("tokens", (7, 7))),
    "tokens behind 1": ((2, 197, 32), (224, 224), Layout("tokens", (14, 14), 1)),
    "tokens behind 2": ((2, 198, 32), (224, 224), Layout("tokens", (14, 14), 2)),
    "tokens behind 5": ((2, 201, 32), (224, 224), Layout("tokens", (14, 14), 5)),
    "tokens, wide": ((2, 24 + 1, 32), WIDE, Layout("tokens", (4, 6), 1)),
    "tokens, tall": ((2, 24 + 5, 32), TALL, Layout("tokens", (6, 4), 5)),
    "tokens, rounded up": ((2, 13 * 19, 32), (197, 301), Layout("tokens", (13, 19))),
    "tokens, rounded down": ((2, 12 * 18 + 1, 32), (197, 301), Layout("tokens", (12, 18), 1)),
    "channels first": ((2, 32, 49), (224, 224), Layout("channels-first tokens", (7, 7))),
    "sequence first": ((49, 2, 32), (224, 224), Layout("sequence-first tokens", (7, 7))),
    "sequence first, wide, behind 1": ((25, 2, 32), WIDE, Layout("sequence-first tokens", (4, 6), 1)),
}


@pytest.mark.parametrize(("shape", "size", "layout"), READ.values(), ids=READ.keys())
def test_a_shape_is_read(shape: tuple[int, ...], size: tuple[int, int], layout: Layout) -> None:
    assert readings(shape, 2, size)[0] == layout
    assert layout.fits(shape)


UNREAD = {
    "pooled": ((2, 32), (224, 224)),
    "pooled, dimensions kept": ((2, 32, 1, 1), (224, 224)),
    "one token": ((2, 1, 32), (224, 224)),
    "transposed": ((2, 32, 3, 2), WIDE),
    "another aspect ratio": ((2, 32, 7, 9), (224, 224)),
    "another number of pictures": ((3, 32, 7, 7), (224, 224)),
    "windows": ((8, 49, 32), (224, 224)),
    "volume": ((2, 32, 7, 7, 7), (224, 224)),
    "scalar": ((), (224, 224)),
}


@pytest.mark.parametrize(("shape", "size"), UNREAD.values(), ids=UNREAD.keys())
def test_a_shape_without_positions_has_no_reading(shape: tuple[int, ...], size: tuple[int, int]) -> None:
    assert readings(shape, 2, size) == []


def test_a_shape_with_two_readings_has_both() -> None:
    found = readings((2, 8, 8, 8), 2, (64, 64))
    assert found == [Layout("NCHW", (8, 8)), Layout("NHWC", (8, 8))]


LAYOUTS = [
    *(Layout(kind, grid) for kind in ("NCHW", "NHWC") for grid in ((2, 3), (3, 2), (1, 5))),
    *(
        Layout(kind, grid, prefix, suffix)
        for kind in ("tokens", "channels-first tokens", "sequence-first tokens")
        for grid in ((2, 3), (4, 4))
        for prefix, suffix in ((0, 0), (1, 0), (0, 2), (3, 1))
    ),
]


def _shape(layout: Layout, batch: int, channels: int) -> tuple[int, ...]:
    tokens = layout.prefix + layout.grid[0] * layout.grid[1] + layout.suffix
    return {
        "NCHW": (batch, channels, *layout.grid),
        "NHWC": (batch, *layout.grid, channels),
        "tokens": (batch, tokens, channels),
        "channels-first tokens": (batch, channels, tokens),
        "sequence-first tokens": (tokens, batch, channels),
    }[layout.kind]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_maps_are_those_of_an_explicit_loop_and_go_back(layout: Layout) -> None:
    batch, channels, (height, width) = 2, 7, layout.grid
    shape = _shape(layout, batch, channels)
    tensor = torch.arange(float(torch.Size(shape).numel())).reshape(shape)
    maps = layout.to_maps(tensor)
    assert layout.fits(shape)
    assert maps.shape == (batch, channels, height, width)
    for b, c, y, x in product(range(batch), range(channels), range(height), range(width)):
        token = layout.prefix + y * width + x
        places = {
            "NCHW": (b, c, y, x),
            "NHWC": (b, y, x, c),
            "tokens": (b, token, c),
            "channels-first tokens": (b, c, token),
            "sequence-first tokens": (token, b, c),
        }
        assert maps[b, c, y, x] == tensor[places[layout.kind]]
    one = tensor.narrow(layout.batch_axis, 0, 1)
    doubled = layout.from_maps(torch.cat([maps[:1], maps[:1] * 2]), one)
    assert torch.equal(doubled.narrow(layout.batch_axis, 0, 1), one)
    assert torch.equal(layout.to_maps(doubled)[1], maps[0] * 2)


# Paths


def _paths(function: Callable[[Tensor], tuple[Tensor, Tensor]]) -> tuple[Paths, Tensor]:
    inputs = torch.randn(2, 3, requires_grad=True).clone()
    inside, logits = function(inputs)
    return Paths(logits, inputs), inside


def test_all_paths_run_through_a_tensor_between_two_blocks() -> None:
    def network(inputs: Tensor) -> tuple[Tensor, Tensor]:
        inside = inputs + inputs.exp() * inputs.sin()  # three paths
        return inside, inside.exp() + inside

    paths, inside = _paths(network)
    assert paths.total == 6
    assert paths.through(edge_of(inside)) == 6


def test_a_branch_has_its_share_of_the_paths_and_what_leads_nowhere_none() -> None:
    kept: list[Tensor] = []

    def network(inputs: Tensor) -> tuple[Tensor, Tensor]:
        inside = inputs.exp()
        kept.append(inside.sin())  # goes nowhere
        return inside, inside * 2 + inputs.cos() + inputs

    paths, inside = _paths(network)
    assert (paths.total, paths.through(edge_of(inside)), paths.through(edge_of(kept[0]))) == (3, 1, 0)


def test_outputs_of_one_operation_are_told_apart() -> None:
    def network(inputs: Tensor) -> tuple[Tensor, Tensor]:
        first, second = inputs.exp().chunk(2, dim=0)
        return first, first + second + second.sin()

    paths, first = _paths(network)
    assert (paths.total, paths.through(edge_of(first))) == (3, 1)


def test_leaves_other_than_the_input_do_not_count() -> None:
    weight = torch.ones(3, requires_grad=True)
    paths, inside = _paths(lambda inputs: ((inside := inputs * weight), inside + weight.exp()))
    assert (paths.total, paths.through(edge_of(inside))) == (1, 1)


def test_a_score_without_the_input_has_no_paths() -> None:
    paths, inside = _paths(lambda inputs: (inputs.exp(), torch.ones(2, 1)))
    assert (paths.total, paths.through(edge_of(inside)), paths.through(None)) == (0, 0, 0)


# The probe


def _told(layout: Layout, order: Callable[[Tensor], Tensor] = lambda maps: maps, noise: float = 0.02) -> Tensor:
    """What a layer of this layout might return for the probe's pictures: their local means, in some order."""
    like = torch.zeros(3, 48 * layout.grid[0], 48 * layout.grid[1])
    maps = nn.functional.adaptive_avg_pool2d(pictures(like).repeat(1, 4, 1, 1), layout.grid)
    generator = torch.Generator().manual_seed(0)
    maps = order(maps) + noise * maps.std() * torch.randn(maps.shape, generator=generator)
    others = torch.randn(1, layout.prefix + layout.suffix, maps.shape[1], generator=generator)
    others = others.expand(PICTURES, -1, -1)
    before, after = others[:, : layout.prefix], others[:, layout.prefix :]
    return torch.cat([before, maps.flatten(2).transpose(1, 2), after], dim=1)


@pytest.mark.parametrize(
    "layout", [Layout("tokens", (7, 7)), Layout("tokens", (3, 5), 1), Layout("NCHW", (4, 6))]
)
def test_the_right_layout_is_verified(layout: Layout) -> None:
    found = score_layouts(changes(_told(layout)), [layout])
    assert (found.layout, found.verdict) == (layout, "verified")
    assert found.score > 0.8


@pytest.mark.parametrize("behind", range(6))
def test_the_place_of_other_tokens_is_found(behind: int) -> None:
    true = Layout("tokens", (7, 7), 5 - behind, behind)
    found = score_layouts(changes(_told(true)), [Layout("tokens", (7, 7), 5)])
    assert (found.layout, found.verdict) == (true, "verified")


def _windowed(maps: Tensor) -> Tensor:
    pieces = maps.unflatten(3, (-1, 4)).unflatten(2, (-1, 4)).transpose(3, 4)
    return pieces.reshape(maps.shape)


WRONG = {
    "column by column": lambda maps: maps.transpose(2, 3),
    "upside down": lambda maps: maps.flip(2),
    "mirrored": lambda maps: maps.flip(3),
    "windows": _windowed,
    "in no order": lambda maps: maps.flatten(2)[..., torch.randperm(64)].view_as(maps),
}


@pytest.mark.parametrize("order", WRONG.values(), ids=WRONG.keys())
def test_another_order_of_tokens_is_contradicted(order: Callable[[Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    layout = Layout("tokens", (8, 8))
    assert score_layouts(changes(_told(layout, order)), [layout]).verdict == "contradicted"
    assert score_layouts(changes(_told(layout)), [layout]).verdict == "verified"


def test_exchanged_axes_of_an_image_are_contradicted_and_noise_is_not_believed() -> None:
    layout = Layout("NCHW", (8, 8))
    assert score_layouts(changes(_told(layout, WRONG["column by column"])), [layout]).verdict == "contradicted"
    torch.manual_seed(0)
    assert score_layouts(changes(_told(layout, WRONG["in no order"])), [layout]).verdict == "unverified"


def test_tokens_that_all_change_alike_give_no_signal() -> None:
    layout = Layout("tokens", (7, 7))
    alike = torch.randn(PICTURES, 1, 8) + 1e-3 * torch.randn(PICTURES, 49, 8)
    assert score_layouts(changes(alike), [layout]).verdict == "no-signal"
    assert score_layouts(changes(torch.ones(PICTURES, 49, 8)), [layout]).verdict == "no-signal"


def test_several_draws_are_averaged_and_one_without_signal_is_none() -> None:
    one, other = (changes(_told(Layout("tokens", (4, 4)), noise=noise)) for noise in (0.1, 0.5))
    assert one is not None
    assert other is not None
    mean = mean_of([one, other])
    assert mean is not None
    torch.testing.assert_close(mean.strength, (one.strength + other.strength) / 2)
    assert mean.local == pytest.approx((one.local + other.local) / 2)
    assert mean_of([one, None]) is None
    assert mean_of([]) is None


def test_the_bands_cover_the_picture_once_in_each_direction() -> None:
    base, *others = pictures(torch.zeros(3, 32, 48))
    touched = torch.stack([(one != base).all(dim=0) for one in others]).int()
    assert torch.equal(touched[:BANDS].sum(dim=0), torch.ones(32, 48, dtype=torch.int64))
    assert torch.equal(touched[BANDS:].sum(dim=0), torch.ones(32, 48, dtype=torch.int64))
    assert (touched[:BANDS].amax(dim=2).sum(dim=1) < 32).all()


def test_of_two_kinds_the_one_that_the_changes_fit_is_taken() -> None:
    """8 channels on an 8×8 grid, once before and once behind."""

    class Exchanged(nn.Module):
        def forward(self, maps: Tensor) -> Tensor:
            return maps.permute(0, 2, 3, 1)

    module = nn.Sequential(nn.Conv2d(3, 8, 8, 8), Exchanged(), nn.Flatten(), nn.Linear(512, 3))
    both = readings((2, 8, 8, 8), 2, (64, 64))
    found = probe(zoo.redraw(module), torch.zeros(3, 64, 64), {"0": both, "1": both})
    assert {name: one.layout.kind for name, one in found.items()} == {"0": "NCHW", "1": "NHWC"}
    assert {one.verdict for one in found.values()} == {"verified"}


# Traces


def _row(*tail: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 5, 3, 2, 1), *tail)


def test_a_trace_records_in_order_and_removes_its_hooks() -> None:
    module = _row(nn.Identity(), nn.Dropout(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3))
    module = nn.Sequential(module, nn.Identity()).eval()
    with traced(module) as records:
        module(zoo.noise())
    assert [record.name for record in records] == [*(f"0.{i}" for i in range(8)), "0", "1"]
    assert [record.returns[0].shape[1:] for record in records][4:7] == [(5, 16, 16), (5, 1, 1), (5,)]
    same = [record.returns[0].value_id for record in records]
    assert same[2] == same[3] == same[4], "a module that hands on what it takes"
    assert same[7] == same[8] == same[9]
    assert len(set(same)) == 6
    assert (records[8].finished_before, records[9].finished_before) == (0, 9)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())


def test_what_is_written_to_in_place_is_another_tensor() -> None:
    module = _row(nn.ReLU(inplace=True), nn.Flatten())
    with traced(module) as records, torch.no_grad():
        module(zoo.noise())
    assert records[2].returns[0].value_id != records[3].returns[0].value_id


def test_a_trace_removes_its_hooks_after_an_exception() -> None:
    module = _row(nn.Flatten(), nn.Linear(1, 3))
    with pytest.raises(RuntimeError, match="shape"), traced(module):
        module(zoo.noise())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())
