"""The grid pointing game on one's own pictures: what is laid together, what is left out, what it says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from camlucida import Explainer
from camlucida.errors import OptionError, PictureError
from camlucida.evaluation.dataset import Item, items_in
from camlucida.evaluation.evaluator import Evaluator
from camlucida.evaluation.mosaic_game import MosaicPhotos, grids, mosaic_photos
from camlucida.evaluation.run import evaluate, map_sources, metrics_of
from command import run as run_command

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "white": (255, 255, 255)}


class Sighted(nn.Module):
    """Classes are colours: it sees each position by itself, so that the truth is known to the last digit."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.AvgPool2d(8))
        self.head = nn.Linear(4, 4, bias=False)
        hues = torch.tensor([[1, -1, -1], [-1, 1, -1], [-1, -1, 1], [1, 1, 1]], dtype=torch.float32)
        with torch.no_grad():
            self.body[0].weight.copy_(hues[:, :, None, None])
            self.body[0].bias.copy_(torch.tensor([0.0, 0.0, 0.0, -2.0]))
            self.head.weight.copy_(8 * torch.eye(4))

    def forward(self, pictures: Tensor) -> Tensor:
        return self.head(self.body(pictures).mean(dim=(2, 3)))


def whole(side: int) -> Callable[[Image.Image], Tensor]:
    """Every picture as it is, at ``side`` pixels a side."""
    from torchvision.transforms import Compose, Resize, ToTensor

    return Compose([Resize((side, side)), ToTensor()])


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder by classes, a picture each."""
    for index, colour in enumerate(COLOURS.values()):
        folder = tmp_path / "photos" / str(index)
        folder.mkdir(parents=True)
        Image.new("RGB", (64, 64), colour).save(folder / "one.png")
    return tmp_path / "photos"


@pytest.fixture
def explainer() -> Explainer:
    return Explainer(Sighted(), preprocess=whole(64))


def test_the_class_lies_in_its_cell(photos: Path, explainer: Explainer) -> None:
    """All of gradcam's mass, which a map that knows nothing puts evenly over the four."""
    cells = mosaic_photos(explainer, items_in(photos, None), 100)
    made = grids(cells, 2, 12)
    evaluator = Evaluator(explainer, map_sources(["gradcam"]), metrics_of(["energy_inside", "pointing_game"]))
    found = evaluate(evaluator, made).estimates()
    assert found["gradcam", "pointing_game"].value == 1
    assert found["gradcam", "energy_inside"].value > 0.8  # the rest is the seam, drawn smoothly
    assert found["gradcam", "energy_inside"].count == 4  # as many pictures, however many mosaics of them
    assert found["gradcam", "energy_inside"].beats_controls is None
    assert found["centre", "energy_inside"].value == pytest.approx(0.25, abs=1e-6)
    assert found["random-map", "energy_inside"].value == pytest.approx(0.25, abs=0.05)


def test_grids_show_what_they_say(photos: Path, explainer: Explainer) -> None:
    made = grids(mosaic_photos(explainer, items_in(photos, None), 100), 2, 8, seed=3)
    assert len({one.key for one in made}) == 8
    assert len({one.path for one in made}) > 2
    for one in made:
        assert Path(one.path).parent.name == str(one.target)
        assert one.mask is not None
        assert one.mask.sum() == 32 * 32
        hue = torch.tensor(list(COLOURS.values())[one.target or 0]) / 255
        assert (one.input[:, one.mask] == hue[:, None]).all()
        assert not (one.input[:, ~one.mask] == hue[:, None]).all(dim=0).any()


def test_what_the_model_mistakes_is_left_out_and_what_cannot_be_read_is_said(
    photos: Path, explainer: Explainer
) -> None:
    (photos / "0" / "broken.png").write_bytes(b"no picture")
    Image.new("RGB", (64, 64), COLOURS["blue"]).save(photos / "0" / "blue.png")
    cells = mosaic_photos(explainer, items_in(photos, None), 100)
    assert cells.mistaken == [str(photos / "0" / "blue.png")]
    assert list(cells.failed) == [str(photos / "0" / "broken.png")]
    assert sorted(cells.labels) == [0, 1, 2, 3]


def test_without_labels_a_picture_is_what_the_model_says(photos: Path, explainer: Explainer) -> None:
    items = [Item(path) for path in sorted(photos.rglob("*.png"))]
    cells = mosaic_photos(explainer, items, 100)
    assert sorted(zip(cells.paths, cells.labels, strict=True)) == [
        (str(item.path), place) for place, item in enumerate(items)
    ]


def test_no_more_pictures_are_read_than_there_are_cells(photos: Path, explainer: Explainer) -> None:
    items = items_in(photos, None) * 5
    one, again, other = (mosaic_photos(explainer, items, 4, seed).paths for seed in (0, 0, 1))
    assert len(one) == 4
    assert one == again
    assert one != other


def test_too_few_classes_and_inputs_of_two_sizes_are_refused(photos: Path, explainer: Explainer) -> None:
    cells = mosaic_photos(explainer, items_in(photos, None), 100)
    with pytest.raises(OptionError, match="3 × 3 cells needs 9 classes, got 4"):
        grids(cells, 3, 8)
    with pytest.raises(OptionError, match="2 × 2 cells needs 4 classes, got 0"):
        grids(MosaicPhotos(), 2, 8)
    cells.pictures[0] = cells.pictures[0][:, :32]
    with pytest.raises(PictureError, match="64×32 and 64×64"):
        grids(cells, 2, 8)


@pytest.fixture
def factory(tmp_path: Path) -> str:
    """A file that the command line takes for a model."""
    file = tmp_path / "sighted.py"
    file.write_text("from test_mosaic_game import Sighted as make\n")
    return f"{file}:make"


def test_evaluate_on_grids(
    photos: Path, factory: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "0" / "broken.png").write_bytes(b"no picture")
    asked = ("--grid", 2, "--grids", 6, "--method", "gradcam", "--out", tmp_path / "out")
    run_command("evaluate", photos, "--model", factory, "--preprocess", "tutorial", *asked, code=1)
    said, errors = capsys.readouterr()
    assert said.split()[:3] == ["method", "energy_inside", "↑"]
    assert "broken.png" in errors
    assert "1 picture failed, measured: 3" in errors
    report = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert report["pictures"] == 3  # which are looked for
    assert report["asked"]["grid"]["rows"] == 2
    assert len(report["asked"]["grid"]["pictures"]) == 4


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--grid", 1), "2 rows or more"),
        (("--grid", 2, "--grids", 0), "1 or more"),
        (("--grid", 3), "needs 9 classes, got 4"),
    ],
)
def test_grids_that_cannot_be_are_refused(
    photos: Path,
    factory: str,
    tmp_path: Path,
    options: tuple[object, ...],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_command(
        "evaluate",
        photos,
        "--model",
        factory,
        "--preprocess",
        "tutorial",
        *options,
        "--out",
        tmp_path / "out",
        code=2,
    )
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
