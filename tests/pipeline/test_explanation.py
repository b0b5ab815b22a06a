"""An Explanation knows where it came from, draws itself, and is saved whole or not at all."""

import dataclasses
import io
import json
import os
import stat
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.functional import normalize, to_tensor

import zoo
from camlucida.errors import OptionError, OutputError
from camlucida.images import Frame
from camlucida.methods import registry
from camlucida.pipeline.comparison import compare
from camlucida.pipeline.explainer import Explainer
from camlucida.pipeline.explanation import Explanation
from camlucida.pipeline.provenance import Provenance, versions
from camlucida.pipeline.sheet import Sheet

PROVENANCE = Provenance(
    model="some_model",
    weights="pretrained",
    layer="layer4",
    layout="NCHW 3×4",
    method="gradcam",
    options={"ratio": 0.5, "names": "é"},
    preprocess="model",
    versions={"torch": "2"},
)


def photo(height: int = 30, width: int = 44) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def made(**changes: Any) -> Explanation:
    """A map of both signs on the middle of a picture."""
    facts: dict[str, Any] = {
        "heatmap": zoo.noise(1, 3, 4, 1)[0, 0],
        "index": 282,
        "label": "tiger cat, “ł”",
        "score": 4.25,
        "probability": 0.3987,
        "provenance": PROVENANCE,
        "frame": Frame((30, 44), (7.5, 0.25, 36.5, 29.75), (224, 224)),
        "shown": photo(),
        "source": None,
    }
    return Explanation(**(facts | changes))


def pixels(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture)


def reopened(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        picture.load()
        return picture


@pytest.fixture(scope="module")
def explainer() -> Explainer:
    return Explainer(zoo.resnet())


# -------------------------------------------------------------------------------------------------- saving


@pytest.mark.parametrize(
    ("name", "form", "off"),
    [
        ("a.png", "PNG", 0),
        ("a.PNG", "PNG", 0),
        ("a.jpg", "JPEG", 8),
        ("a.jpeg", "JPEG", 8),
        ("a.webp", "WEBP", 8),
    ],
)
def test_the_overlay_is_saved_in_the_format_of_its_name(tmp_path, name, form, off):
    explanation = made(shown=Image.new("RGB", (44, 30), (90, 140, 60)))
    assert explanation.save(tmp_path / name) == tmp_path / name
    picture = reopened(tmp_path / name)
    assert picture.format == form
    difference = pixels(picture.convert("RGB")).astype(int) - pixels(explanation.overlay())
    assert np.abs(difference).mean() <= off


def test_drawing_options_reach_the_file(tmp_path):
    drawing = {"alpha": 0.8, "colormap": "RdBu_r", "scale": "raw"}
    made().save(tmp_path / "a.png", **drawing)
    assert pixels(reopened(tmp_path / "a.png")).tobytes() == pixels(made().overlay(**drawing)).tobytes()
    assert made().overlay(**drawing).tobytes() != made().overlay().tobytes()


def test_folders_are_made(tmp_path):
    assert made().save(str(tmp_path / "new" / "deep" / "a.png")) == tmp_path / "new" / "deep" / "a.png"


@pytest.mark.parametrize("colormap", ["turbo", "RdBu_r"])
@pytest.mark.parametrize("scale", ["raw", "picture"])
def test_what_is_saved_raw_comes_back_the_same(tmp_path, colormap, scale):
    explanation = made(source=Path("photos/cat.jpg"))
    explanation.save(tmp_path / "a.npz")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "a.npz"]
    loaded = Explanation.load(tmp_path / "a.npz")
    again, once = (e.overlay(colormap=colormap, scale=scale) for e in (loaded, explanation))
    assert again.tobytes() == once.tobytes()
    assert loaded.manifest() == explanation.manifest()
    assert torch.equal(loaded.heatmap, explanation.heatmap)
    assert loaded.heatmap.dtype == torch.float32
    for name in ("index", "label", "score", "probability", "frame", "source", "provenance", "caption"):
        assert getattr(loaded, name) == getattr(explanation, name)


def test_an_explanation_of_no_single_class_comes_back_too(tmp_path):
    explanation = made(index=None, label=None, probability=None)
    explanation.save(tmp_path / "a.npz")
    loaded = Explanation.load(tmp_path / "a.npz")
    assert (loaded.index, loaded.label, loaded.probability) == (None, None, None)
    assert loaded.caption == "score 4.25"


def test_the_manifest_can_be_read_by_anyone(tmp_path):
    made().save(tmp_path / "a.npz")
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    facts = json.loads(text)
    assert "ł" in text
    assert facts["model"] == "some_model"
    assert facts["frame"]["box"] == [7.5, 0.25, 36.5, 29.75]
    assert facts["options"] == {"ratio": 0.5, "names": "é"}


def test_a_real_explanation_comes_back_the_same(tmp_path, explainer):
    path = tmp_path / "photo.png"
    photo(70, 90).save(path)
    explanation = explainer.explain(path, ["layercam"], [3])[0]
    explanation.save(tmp_path / "raw.npz")
    loaded = Explanation.load(tmp_path / "raw.npz")
    assert loaded.overlay().tobytes() == explanation.overlay().tobytes()
    assert loaded.manifest() == explanation.manifest()


# --------------------------------------------------------------------------------------- whole or not at all


def half_written(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content[:11])
    raise OSError(28, "No space left on device")


def broken_off(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content[:11])
    raise KeyboardInterrupt


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("there", [False, True], ids=["new", "over an older one"])
@pytest.mark.parametrize(("failure", "raised"), [(half_written, OutputError), (broken_off, KeyboardInterrupt)])
def test_a_picture_is_written_whole_or_not_at_all(tmp_path, monkeypatch, there, failure, raised):
    older = b""
    if there:
        made().save(tmp_path / "a.png")
        older = (tmp_path / "a.png").read_bytes()
    monkeypatch.setattr(Path, "write_bytes", failure)
    with pytest.raises(raised):
        made().save(tmp_path / "a.png")
    assert names(tmp_path) == ["a.png"] * there
    if there:
        assert (tmp_path / "a.png").read_bytes() == older


def test_the_error_says_where_and_why(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "write_bytes", half_written)
    with pytest.raises(
        OutputError, match=r"a\.png cannot be written \(No space left on device\): give another"
    ):
        made().save(tmp_path / "a.png")


def test_the_raw_map_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    def half(stream: Any, **_: Any) -> None:
        stream.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", half)
    with pytest.raises(OutputError, match=r"a\.npz cannot be written"):
        made().save(tmp_path / "a.npz")
    assert names(tmp_path) == []


def test_a_contact_sheet_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "write_bytes", half_written)
    with pytest.raises(OutputError):
        Sheet([[made()]], ["a"], [["b"]]).save(tmp_path / "a.png")
    assert names(tmp_path) == []


def test_a_picture_too_large_for_its_format_is_refused(tmp_path):
    """WebP ends at 16,383 pixels; Pillow has its own kind of error for that."""
    wide = made(shown=Image.new("RGB", (16_400, 2)), frame=Frame.whole((2, 16_400)))
    with pytest.raises(OutputError, match=r"a\.webp cannot be written .*16383"):
        wide.save(tmp_path / "a.webp")
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["a.png", "a.npz"])
def test_files_get_the_users_own_permissions(tmp_path, name):
    before = os.umask(0o027)
    try:
        made().save(tmp_path / name)
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o640}


def test_the_umask_is_left_as_it_was(tmp_path):
    before = os.umask(0o022)
    try:
        made().save(tmp_path / "a.png")
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)


def test_a_long_name_that_the_disk_takes_is_taken(tmp_path):
    """The temporary file beside it needs no longer name."""
    made().save(tmp_path / ("b" * 245 + ".png"))
    assert len(names(tmp_path)) == 1


UNWRITABLE = {
    "a file for a folder": lambda folder: folder / "file" / "a.png",
    "a folder for a file": lambda folder: folder / "folder.png",
}


@pytest.mark.parametrize("place", UNWRITABLE.values(), ids=UNWRITABLE.keys())
def test_where_nothing_can_be_written_the_error_says_so(tmp_path, place):
    (tmp_path / "file").touch()
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(OutputError, match=r"\.png cannot be written \(.*\): give another path"):
        made().save(place(tmp_path))
    assert names(tmp_path) == ["file", "folder.png"]


def test_a_folder_that_may_not_be_written_is_refused(tmp_path, monkeypatch):
    def denied(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("camlucida.files._temporary", denied)  # permissions do not bind root
    with pytest.raises(OutputError, match=r"a\.png cannot be written \(Permission denied\)"):
        made().save(tmp_path / "a.png")


@pytest.mark.parametrize("name", ["a.tiff", "a.gif", "a", "a.png.txt", "a.json"])
def test_other_formats_are_refused(tmp_path, name):
    with pytest.raises(OptionError, match=rf"saved as png, jpg, webp, got '{name}'"):
        made().save(tmp_path / name)
    assert names(tmp_path) == []


# ------------------------------------------------------------------------------------- never over an input


def same_path(source: Path) -> Path:
    return source


def relative(source: Path) -> Path:
    return source.parent / "." / "sub" / ".." / source.name


def linked(source: Path) -> Path:
    link = source.with_name("link.png")
    link.symlink_to(source)
    return link


def hard_linked(source: Path) -> Path:
    link = source.with_name("hard.png")
    link.hardlink_to(source)
    return link


@pytest.mark.parametrize("other", [same_path, relative, linked, hard_linked])
@pytest.mark.parametrize("what", ["explanation", "sheet"])
def test_an_input_is_never_written_over(tmp_path, other, what):
    (tmp_path / "sub").mkdir()
    source = tmp_path / "photo.png"
    photo().save(source)
    content = source.read_bytes()
    explanation = made(source=source)
    result = explanation if what == "explanation" else Sheet([[explanation]], ["a"], [["b"]])
    with pytest.raises(
        OutputError, match="is an input of this run and would be overwritten: give another name"
    ):
        result.save(other(source))
    assert source.read_bytes() == content


def test_an_input_given_relative_to_the_folder_is_never_written_over(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photo().save("photo.png")
    with pytest.raises(OutputError, match="would be overwritten"):
        made(source=Path("photo.png")).save(tmp_path / "photo.png")


def test_no_input_of_a_sheet_is_written_over(tmp_path):
    sources = [tmp_path / "a.png", tmp_path / "b.png"]
    for source in sources:
        photo().save(source)
    result = Sheet([[made(source=source)] for source in sources], ["x"], [["y"], ["z"]])
    for source in sources:
        with pytest.raises(OutputError, match="would be overwritten"):
            result.save(source)


@pytest.mark.parametrize("raw", ["photo.npz", "photo.json"])
def test_an_input_of_an_odd_name_is_never_written_over(tmp_path, raw):
    """Pillow looks at the content, not at the name."""
    photo().save(tmp_path / raw, format="PNG")
    content = (tmp_path / raw).read_bytes()
    with pytest.raises(OutputError, match="would be overwritten"):
        made(source=tmp_path / raw).save(tmp_path / "photo.npz")
    assert (tmp_path / raw).read_bytes() == content


@pytest.mark.parametrize("what", ["explanation", "sheet"])
def test_an_input_that_has_gone_is_no_obstacle(tmp_path, what):
    explanation = made(source=tmp_path / "gone.png")
    made().save(tmp_path / "a.png")
    (explanation if what == "explanation" else Sheet([[explanation]], ["a"], [["b"]])).save(tmp_path / "a.png")
    assert reopened(tmp_path / "a.png").format == "PNG"


# --------------------------------------------------------------------------------------------- the rest of it


def test_a_notebook_shows_the_overlay():
    with Image.open(io.BytesIO(made()._repr_png_())) as shown:
        assert shown.format == "PNG"
        assert pixels(shown).tobytes() == pixels(made().overlay()).tobytes()
    result = Sheet([[made()]], ["a"], [["b"]])
    with Image.open(io.BytesIO(result._repr_png_())) as shown:
        assert pixels(shown).tobytes() == pixels(result.picture()).tobytes()


@pytest.mark.parametrize("name", ["heatmap", "score", "index", "provenance", "frame"])
def test_it_is_frozen(name):
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(made(), name, None)
    with pytest.raises(dataclasses.FrozenInstanceError):
        made().provenance.layer = "other"


def test_drawing_changes_nothing():
    explanation = made()
    before = explanation.heatmap.clone(), explanation.picture.tobytes()
    explanation.overlay(0.7, "RdBu_r", "raw")
    assert torch.equal(explanation.heatmap, before[0])
    assert explanation.picture.tobytes() == before[1]


@pytest.mark.parametrize(
    ("changes", "caption"),
    [
        ({}, "tiger cat 0.40"),
        ({"label": None}, "class 282 0.40"),
        ({"probability": None}, "tiger cat, score 4.25"),
        ({"probability": None, "score": -12345.6}, "tiger cat, score -1.23e+04"),
        ({"probability": None, "target": "tabby − tiger cat"}, "tabby − tiger cat, score 4.25"),
    ],
    ids=["class", "no names", "no probability", "large", "contrast"],
)
def test_captions(changes, caption):
    assert made(**changes).caption == caption


def test_full_colour_can_be_given():
    explanation = made()
    peak = float(explanation.heatmap.max())
    assert explanation.overlay(full_at=peak).tobytes() == explanation.overlay().tobytes()
    assert explanation.overlay(full_at=1.0).tobytes() == explanation.overlay(scale="raw").tobytes()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("colormap", ["turbo", "RdBu_r"])
def test_a_map_with_a_hole_is_drawn_around_it(bad, colormap):
    heatmap = made().heatmap.clone()
    heatmap[0, 0] = bad
    explanation = made(heatmap=heatmap)
    explanation.overlay(colormap=colormap)
    assert [finding.code for finding in explanation.health] == ["not-finite"]


def test_random_weights_are_stamped_in_a_corner():
    plain = made(shown=photo(180, 240), frame=Frame.whole((180, 240)))
    drawn = dataclasses.replace(plain, provenance=dataclasses.replace(PROVENANCE, weights="random"))
    rows, columns = np.nonzero((pixels(drawn.overlay()) != pixels(plain.overlay())).any(axis=2))
    assert len(rows) > 500
    assert rows.min() > 160
    assert columns.max() < 130
    assert drawn.picture.tobytes() == plain.picture.tobytes()


def test_a_sheet_on_panel_scale_shares_full_colour():
    strong, weak = made(), made(heatmap=made().heatmap / 10)
    page = {
        scale: Sheet([[strong, weak]], ["a", "b"], [["c"]]).picture(scale=scale)
        for scale in ("picture", "panel")
    }
    assert page["picture"].tobytes() != page["panel"].tobytes()
    same = Sheet([[strong, strong]], ["a", "b"], [["c"]])
    assert same.picture(scale="picture").tobytes() == same.picture(scale="panel").tobytes()


def test_a_sheet_says_what_is_wrong_with_a_map():
    blank = made(heatmap=torch.zeros(3, 4))
    sheets = [Sheet([[one]], ["a"], [["b"]]).picture() for one in (made(), blank)]
    assert sheets[1].height > sheets[0].height  # a line more, under the caption


# ---------------------------------------------------------------------------------------------- provenance


def test_it_says_what_made_it(explainer, tmp_path):
    path = tmp_path / "photo.png"
    photo(70, 90).save(path)
    explanation = explainer.explain(path, ["gradcam++"], [4], ["layer3"])[0]
    provenance = explanation.provenance
    assert (explanation.model, explanation.method, explanation.layer) == ("resnet10t", "gradcam++", "layer3")
    assert (provenance.weights, provenance.preprocess) == ("own", "model")
    assert provenance.layout == "NCHW 11×11"  # 176 pixels in steps of 16
    assert explanation.source == path
    assert explanation.index == 4
    assert explanation.label is None  # ten classes that nobody named
    packages = ("camlucida", "torch", "timm", "torchvision", "transformers", "numpy", "pillow")
    assert provenance.versions == {name: version(name) for name in packages}


def test_the_options_stand_with_their_defaults(explainer):
    for method in ("gradcam", "eigencam", "random"):
        explanation = explainer.explain(zoo.noise(), [method])[0]
        assert explanation.provenance.options == registry.get_method(method).settings()


def test_an_unknown_version_is_said_so(monkeypatch):
    monkeypatch.setattr("camlucida.pipeline.provenance._PACKAGES", ("torch", "no-such-package"))
    assert versions() == {"torch": version("torch"), "no-such-package": "unknown"}


def test_a_tensor_is_shown_as_the_picture_it_was(explainer):
    picture = photo(zoo.SIZE, zoo.SIZE)
    tensor = normalize(to_tensor(picture), *explainer.adapter.normalisation)
    explanation = explainer.explain(tensor)[0]
    np.testing.assert_array_equal(pixels(explanation.picture), pixels(picture))
    assert explanation.frame == Frame.whole((zoo.SIZE, zoo.SIZE))
    assert explanation.source is None
    assert explanation.provenance.preprocess == "none"


class Plain(torch.nn.Module):
    """A network that no library describes."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolution = torch.nn.Conv2d(channels, 8, 3, stride=4, padding=1)
        self.pool = torch.nn.AdaptiveAvgPool2d(1)
        self.classifier = torch.nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.pool(self.convolution(x).relu()).flatten(1))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_tensor_for_an_undescribed_network_is_shown_stretched(channels):
    network = zoo.redraw(Plain(channels))
    tensor = zoo.noise(channels=channels)[0] * 7 + 3
    explanation = Explainer(network).explain(tensor, layers=["convolution"])[0]
    shown = pixels(explanation.picture)
    assert explanation.picture.mode == "RGB"
    assert shown.shape == (zoo.SIZE, zoo.SIZE, 3)
    grey = (tensor - tensor.min()) / (tensor.max() - tensor.min())
    expected = grey if channels == 3 else grey.mean(dim=0, keepdim=True).expand(3, -1, -1)
    assert np.abs(shown / 255 - expected.permute(1, 2, 0).numpy()).max() <= 1 / 255


def test_a_constant_tensor_is_shown_without_nan():
    explanation = Explainer(zoo.redraw(Plain(3))).explain(torch.full((3, 32, 32), 2.0), layers=["convolution"])[
        0
    ]
    assert pixels(explanation.picture).max() == 0


def test_the_input_tensor_is_left_as_it_was(explainer):
    tensor = zoo.noise()[0].requires_grad_()
    before = tensor.detach().clone()
    explainer.explain(tensor)[0].overlay()
    assert torch.equal(tensor.detach(), before)
    assert tensor.grad is None
    assert tensor.requires_grad


def test_a_real_sheet_is_saved(tmp_path):
    result = compare(photo(60, 80), models=[zoo.resnet(), zoo.convnext()], methods=["gradcam", "eigencam"])
    result.save(tmp_path / "a.png")
    assert pixels(reopened(tmp_path / "a.png")).tobytes() == pixels(result.picture()).tobytes()
    assert [len(row) for row in result.rows] == [2, 2]
    assert result.labels == [["gradcam", "top class"], ["eigencam", "top class"]]
