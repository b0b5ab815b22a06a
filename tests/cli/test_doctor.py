"""Everything about one model on one page."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import camlucida
import snapshot
import zoo
from camlucida import Explainer
from camlucida.images.probe_picture import places_picture
from camlucida.methods import registry
from camlucida.pipeline import diagnosis
from command import run


def test_doctor_says_all_of_it_on_one_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("doctor", "test_vit.r160_in1k", "--weights", "random", "--out", tmp_path)
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    for name in ("model", "input", "classes", "layer", "layout", "custody", "speed", "memory", "probe"):
        assert lines[name]
    assert "10×10 behind 1" in lines["layout"]
    assert lines["custody"] == "the model came back as it was"
    assert set(registry.all_methods()) <= set(lines)
    assert lines["gradcam"].startswith("works, ")
    assert lines["cam"].startswith("refused: ")
    assert Path(lines["probe"]).is_file()


def test_doctor_refuses_a_model_without_positions(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "flat.py").write_text(
        "from torch import nn\n"
        "def factory():\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 224 * 224, 8), nn.ReLU(), nn.Linear(8, 5))\n"
    )
    run("doctor", f"{tmp_path / 'flat.py'}:factory", "--out", tmp_path / "out", code=2)
    assert "position" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("size", [(64, 64), (64, 96)])
def test_the_probe_finds_where_positions_are(size: tuple[int, int]) -> None:
    net = zoo.redraw(nn.Sequential(nn.Conv2d(3, 6, 8, 8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    explainer, picture = Explainer(net), torch.randn(3, *size)
    choice = explainer.inspector.default(picture)
    (told,) = diagnosis.places(explainer, picture, choice).values()
    height, width = size[0] // 8, size[1] // 8
    assert told.shape == (2, height, width)
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    for found, true, other in ((told[0], rows, columns), (told[1], columns, rows)):
        assert torch.corrcoef(torch.stack([found.flatten(), true.flatten().float()]))[0, 1] > 0.9
        assert abs(torch.corrcoef(torch.stack([found.flatten(), other.flatten().float()]))[0, 1]) < 0.1
    drawn = np.asarray(places_picture(told.numpy()))
    assert drawn.shape == (16 * height, 32 * width + 24, 3)


def test_a_model_that_is_not_given_back_as_it_was_is_seen() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    before = diagnosis._fingerprint(net)
    assert diagnosis._fingerprint(net) == before
    for spoil in (
        lambda: net[0].register_forward_hook(lambda *_: None),
        net.eval,
        lambda: net[0].weight.requires_grad_(False),
        lambda: net[0].weight.detach().add_(1),
        lambda: net[1].running_mean.add_(1),
        lambda: setattr(net, "extra", 1),
    ):
        spoil()
        after = diagnosis._fingerprint(net)
        assert after != before
        before = after


class _Scaled(nn.Sequential):
    """A classifier with batch statistics, whose forward takes a second input."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
        super().__init__(nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU(), *head)

    def forward(self, picture: torch.Tensor, *, scale: torch.Tensor) -> torch.Tensor:
        return super().forward(picture) * scale


def test_doctor_leaves_a_model_in_training_as_it_was() -> None:
    net = _Scaled().train()
    before = snapshot.take(net)
    preprocess, extra = {"size": 32, "mean": 0.5, "std": 0.5}, {"scale": torch.ones(1, 1)}
    told = camlucida.doctor(net, preprocess=preprocess, kwargs=extra)
    snapshot.assert_same(before, snapshot.take(net))
    assert dict(told.facts)["custody"] == "the model came back as it was"
    assert not next(one for one in told.methods if one.method == "gradcam").refused


def test_the_picture_left_is_how_it_should_be() -> None:
    height, width = 3, 5
    rows = np.linspace(0, 1, height)[:, None].repeat(width, axis=1)
    columns = np.linspace(0, 1, width)[None].repeat(height, axis=0)
    drawn = np.asarray(places_picture(np.stack([rows, columns])))
    assert np.array_equal(drawn[:, : 16 * width], drawn[:, 16 * width + 24 :])
    assert isinstance(places_picture(np.stack([columns, rows])), Image.Image)
    assert not np.array_equal(
        np.asarray(places_picture(np.stack([columns, rows])))[:, 16 * width + 24 :], drawn[:, : 16 * width]
    )
