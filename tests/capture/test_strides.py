"""Where the cells of a map lie on the input: as the strides say, also where those do not divide it."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

import zoo
from camlucida import Explainer
from camlucida.capture.strides import Strides
from camlucida.heatmaps.project import model_input_only, project_to_picture
from camlucida.images import Cells, Frame
from camlucida.images.frame import EVEN
from camlucida.pipeline.explanation import Explanation


class Patches(nn.Module):
    """Each cell is the mean of its own patch, so that the map of a square that fills one is at that square."""

    def __init__(self, stride: int, padded: bool, merged: bool = False) -> None:
        super().__init__()
        self.stride, self.padded, self.merged = stride, padded, merged
        self.conv = nn.Conv2d(
            1, 8, stride // 2 if merged else stride, stride // 2 if merged else stride, bias=False
        )
        self.act = nn.ReLU()
        self.head = nn.Linear(8, 2, bias=False)
        nn.init.ones_(self.conv.weight)
        self.head.weight.data = torch.tensor([[1.0] * 8, [-1.0] * 8])

    def forward(self, x: Tensor) -> Tensor:
        if self.padded:
            x = functional.pad(x, (0, -x.shape[-1] % self.stride, 0, -x.shape[-2] % self.stride))
        x = self.conv(x)
        if self.merged:  # two by two, as Swin does, by slices and sums
            height, width = x.shape[-2] // 2 * 2, x.shape[-1] // 2 * 2
            x = x[..., :height, :width]
            x = x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]
        return self.head(self.act(x).mean((2, 3)))


def centroid(explanation: Explanation) -> tuple[float, float]:
    """Of the drawn evidence, (y, x) in pixels."""
    laid = np.nan_to_num(project_to_picture(explanation.heatmap, explanation.frame)).clip(min=0)
    places = [np.arange(side) + 0.5 for side in laid.shape]
    return tuple(float((laid.sum(1 - axis) * places[axis]).sum() / laid.sum()) for axis in (0, 1))


@pytest.mark.parametrize("merged", [False, True], ids=["patches", "merged"])
@pytest.mark.parametrize("padded", [False, True], ids=["floor", "padded"])
@pytest.mark.parametrize(
    ("size", "stride"), [((64, 64), 8), ((70, 69), 8), ((61, 90), 6), ((90, 61), 14)], ids=str
)
def test_a_square_that_fills_a_cell_is_drawn_on_it(
    size: tuple[int, int], stride: int, padded: bool, merged: bool
) -> None:
    explainer = Explainer(Patches(stride, padded, merged).eval())
    counts = [-(-side // stride) if padded else side // stride for side in size]
    for row, column in product(*({1, count // 2, count - 3} for count in counts)):
        if not (0 < row < counts[0] - 2 and 0 < column < counts[1] - 2):
            continue  # at the border the map is flat
        picture = torch.zeros(1, *size)
        picture[:, row * stride : (row + 1) * stride, column * stride : (column + 1) * stride] = 1
        found = explainer.explain([picture], ["gradcam"], [0], ["act"])[0]
        assert tuple(found.heatmap.shape) == tuple(counts)
        assert centroid(found) == pytest.approx(((row + 0.5) * stride, (column + 0.5) * stride), abs=0.05)
        mirrored = explainer.explain([picture], ["gradcam"], [0], ["act"], smooth="aug")[0]
        assert centroid(mirrored)[0] == pytest.approx((row + 0.5) * stride, abs=0.05)


def test_pixels_behind_the_last_patch_are_not_tinted() -> None:
    explainer = Explainer(Patches(8, padded=False).eval())
    found = explainer.explain([torch.ones(1, 70, 69)], ["gradcam"], [0], ["act"])[0]
    laid = project_to_picture(found.heatmap, found.frame)
    assert not np.isnan(laid).any()
    seen = ~np.isnan(model_input_only(laid, found.frame))
    assert seen[:64, :64].all()
    assert seen.sum() == 64 * 64
    plain, drawn = np.asarray(found.picture), np.asarray(found.overlay())
    assert (drawn[64:] == plain[64:]).all()
    assert (drawn[:64, :64] != plain[:64, :64]).any()


REAL: dict[str, tuple[Any, int, int, str]] = {
    "ViT, padded at the end": (
        lambda: timm.create_model(
            "vit_tiny_patch16_224", depth=1, num_classes=5, dynamic_img_size=True, dynamic_img_pad=True
        ),
        70,
        16,
        "patch_embed",
    ),
    "ConvNeXt": (lambda: timm.create_model("test_convnext", num_classes=5), 100, 32, "stages.3"),
    "Swin": (
        lambda: timm.create_model(
            "swin_tiny_patch4_window7_224", img_size=104, window_size=4, depths=(1, 1, 1, 1), embed_dim=24,
            num_classes=5,
        ),
        104,
        32,
        "layers.3",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("make", "size", "stride", "layer"), REAL.values(), ids=REAL)
def test_cells_of_real_networks(make: Any, size: int, stride: int, layer: str) -> None:
    found = Explainer(zoo.redraw(make()).eval()).explain([torch.rand(3, size, size)], layers=layer)[0]
    cells = found.heatmap.shape[0]
    assert cells in (size // stride, -(-size // stride))
    assert size % stride
    left, top, right, bottom = (share * size for share in found.frame.cells.box)
    assert (left, top) == (0, 0)
    assert (right, bottom) == pytest.approx((cells * stride,) * 2)
    assert min(size, cells * stride) <= round(found.frame.cells.seen[2] * size, 6) <= size


def receptive(module: nn.Module, layer: str, size: tuple[int, int]) -> list[tuple[float, float]]:
    """For rows and columns from where to where the middles of receptive fields lie, by gradients."""
    picture = torch.ones(1, 3, *size, requires_grad=True)
    kept: dict[str, Tensor] = {}
    handle = module.get_submodule(layer).register_forward_hook(lambda _m, _a, out: kept.update(out=out))
    module(picture)
    handle.remove()
    ends = []
    for axis in (2, 3):
        middles = []
        for place in (0, -1):
            chosen = kept["out"].select(axis, place).sum()
            (slope,) = torch.autograd.grad(chosen, picture, retain_graph=True)
            reached = slope.abs().sum(dim=(0, 1, 5 - axis)).nonzero().flatten()
            middles.append((float(reached.min()) + float(reached.max()) + 1) / 2)
        ends.append((middles[0], middles[1]))
    return ends


def steering() -> nn.Module:
    """Five convolutions without padding, as in networks that steer by camera."""
    sides = [(3, 8, 5, 2), (8, 8, 5, 2), (8, 8, 5, 2), (8, 8, 3, 1), (8, 8, 3, 1)]
    parts = [part for one in sides for part in (nn.Conv2d(*one), nn.Softplus())]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))


def lenet() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(3, 6, 5), nn.AvgPool2d(2), nn.Conv2d(6, 8, 5), nn.Softplus(), nn.AvgPool2d((2, 3))),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)),
    )


def padded_and_dilated() -> nn.Module:
    """Same sizes by padding, patches, dilation: still symmetrical."""
    return nn.Sequential(
        *(nn.Conv2d(3, 6, 3, padding="same"), nn.Conv2d(6, 6, 3, padding=2, dilation=2), nn.AvgPool2d(2)),
        *(nn.Conv2d(6, 8, 4, stride=2, padding=1), nn.Softplus()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)),
    )


@pytest.mark.parametrize("size", [(66, 200), (70, 97)], ids=str)
@pytest.mark.parametrize(("make", "layer"), [(steering, "9"), (lenet, "4")])
def test_without_padding_cells_lie_on_their_receptive_fields(
    make: Any, layer: str, size: tuple[int, int]
) -> None:
    module = zoo.redraw(make()).eval()
    found = Explainer(module).explain([torch.ones(3, *size)], layers=layer)[0]
    boxes = found.frame.cells.box
    for axis, (first, last) in enumerate(receptive(module, layer, size)):
        start, end = (boxes[place] * size[axis] for place in (1 - axis, 3 - axis))
        half = (end - start) / found.heatmap.shape[axis] / 2
        assert (start + half, end - half) == pytest.approx((first, last))
    assert not np.isnan(project_to_picture(found.heatmap, found.frame)).any()


@pytest.mark.parametrize("size", [(64, 64), (48, 80)], ids=str)
def test_symmetrical_padding_leaves_cells_even_where_strides_divide(size: tuple[int, int]) -> None:
    found = Explainer(zoo.redraw(padded_and_dilated()).eval()).explain([torch.ones(3, *size)], layers="4")[0]
    assert found.frame.cells.box == pytest.approx(EVEN.box)


@pytest.mark.parametrize("size", [64, 70])
@pytest.mark.parametrize("family", ["resnet", "efficientnet"])
def test_behind_padded_strides_cells_are_even(family: str, size: int) -> None:
    module = zoo.resnet() if family == "resnet" else timm.create_model("tf_efficientnet_lite0", num_classes=4)
    found = Explainer(module.eval()).explain([torch.rand(3, size, size)])[0]
    assert found.frame.cells == EVEN


def test_paths_that_disagree_leave_a_grid_unclear() -> None:
    strides = Strides((32, 32))
    strides.step(nn.Conv2d(3, 4, 4, 4), (32, 32), (8, 8))
    assert strides.cells((8, 8)) == EVEN
    strides.step(nn.Conv2d(3, 4, 5, 4, padding=1), (32, 32), (8, 8))  # half a pixel further
    strides.step(nn.Conv2d(4, 4, 2, 2), (8, 8), (4, 4))
    assert strides.cells((4, 4)) == EVEN
    assert strides.grids[8, 8] is None
    assert strides.grids[4, 4] is None


def test_layers_of_other_boxes_are_added_where_they_lie() -> None:
    """Two grids of patches, 8 and 24 pixels wide: 96 pixels of 100 are seen, and by the coarser one 96 too."""

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fine, self.act = nn.Conv2d(1, 4, 8, 8, bias=False), nn.ReLU()
            self.coarse, self.last = nn.Conv2d(4, 4, 3, 3, bias=False), nn.ReLU()
            self.head = nn.Linear(4, 2, bias=False)
            for one in (self.fine, self.coarse, self.head):
                nn.init.ones_(one.weight)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.last(self.coarse(self.act(self.fine(x)))).mean((2, 3)))

    picture = torch.zeros(1, 116, 116)
    picture[:, 48:72, 48:72] = 1  # the third coarse cell
    found = Explainer(Two().eval()).explain([picture], ["gradcam"], [0], ["act+last"])[0]
    assert tuple(found.heatmap.shape) == (14, 14)
    assert found.frame.cells.box == pytest.approx((0, 0, 112 / 116, 112 / 116))
    assert centroid(found) == pytest.approx((60, 60), abs=0.5)


def test_saved_with_them_and_older_files_are_read(tmp_path: Path) -> None:
    found = Explainer(Patches(8, padded=False).eval()).explain(
        [torch.ones(1, 70, 69)], ["gradcam"], [0], ["act"]
    )[0]
    assert found.frame.cells != EVEN
    assert Explanation.load(found.save(tmp_path / "a.npz")).frame == found.frame
    older = replace(found, frame=Frame(found.frame.picture, found.frame.box, found.frame.view))
    manifest = older.manifest()
    del manifest["frame"]["cells"]
    object.__setattr__(older, "manifest", lambda: manifest)
    assert Explanation.load(older.save(tmp_path / "b.npz")).frame.cells == EVEN


def test_a_module_put_in_the_place_of_another_is_noticed() -> None:
    module = Patches(8, padded=False).eval()
    explainer = Explainer(module)
    before = explainer.explain([torch.ones(1, 70, 70)], ["gradcam"], [0], ["act"])[0]
    module.conv = nn.Conv2d(1, 8, 12, 12, bias=False)
    after = explainer.explain([torch.ones(1, 70, 70)], ["gradcam"], [0], ["act"])[0]
    assert before.frame.cells.box[2] == pytest.approx(64 / 70)
    assert after.frame.cells.box[2] == pytest.approx(60 / 70)
    assert not any(part._forward_hooks for part in module.modules())


def test_mirrored() -> None:
    cells = Cells((0, 0, 0.9, 1.1), (0, 0.1, 0.9, 1))
    assert cells.mirrored == Cells((pytest.approx(0.1), 0, 1, 1.1), (pytest.approx(0.1), 0.1, 1, 1))
    assert cells.mirrored.mirrored.box == pytest.approx(cells.box)
