"""The tutorial's script, run in this process with small networks."""

import importlib.util
import shutil
import warnings
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

SCRIPT = Path(__file__).parents[2] / "examples" / "tutorial.py"
SIDE, PANELS = 224, 5
METHODS = (
    "gradcam",
    "gradcam++",
    "scorecam",
    "xgradcam",
    "ablationcam",
    "eigencam",
    "eigengradcam",
    "layercam",
    "fullgrad",
)
RANDOM = ("--weights", "random", "--small", "--no-use-cuda")
JPEG = 3  # what its compression changes on average, of 255
SPREAD = 10  # of a map's colours; a blank one is one blue all over, but for compression

Run = Callable[..., np.ndarray]


@pytest.fixture(scope="module")
def tutorial() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tutorial", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run(tutorial: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The script on a photo of a cat, with whatever arguments: the pixels of its result."""
    monkeypatch.chdir(tmp_path)
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.fromarray(data.chelsea()).save(photos / "cat.png")

    def result(*arguments: str) -> np.ndarray:
        shutil.rmtree("_results", ignore_errors=True)
        tutorial.main([*RANDOM, "--image-path", "photos", "--image-name", "cat.png", *arguments])
        assert [path.name for path in Path("_results").iterdir()] == ["result_cat.jpg"]
        with Image.open("_results/result_cat.jpg") as picture:
            return np.asarray(picture)

    return result


def panels_of(result: np.ndarray) -> list[np.ndarray]:
    assert result.shape == (SIDE, PANELS * SIDE, 3)
    return np.split(result.astype(float), PANELS, axis=1)


def tint(overlay: np.ndarray, photo: np.ndarray) -> np.ndarray:
    """What lies over the photo, which half shines through."""
    return 2 * overlay - photo


@pytest.mark.parametrize("method", METHODS)
def test_every_method_makes_the_photo_and_four_overlays(method: str, run: Run) -> None:
    """A map may be blank, as gradcam++'s of one of these networks is, if a warning says why."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings(
            "always", "the map is blank because every position is evidence against this class"
        )
        photo, *overlays = panels_of(run("--method", method))
    squashed = np.asarray(Image.fromarray(data.chelsea()).resize((SIDE, SIDE), Image.Resampling.BILINEAR))
    assert np.abs(photo - squashed).mean() < JPEG
    assert all(np.abs(overlay - photo).mean() > 10 for overlay in overlays)
    seen = [overlay for overlay in overlays if tint(overlay, photo).std(axis=(0, 1)).max() > SPREAD]
    assert len(overlays) - len(seen) == len(caught) <= 1
    assert all(np.abs(one - other).mean() > 5 for one, other in pairwise(seen))


def test_red_is_where_the_network_looked(
    run: Run, tutorial: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Left(tutorial.GradCAM):
        def __call__(self, *given: object, **named: object) -> np.ndarray:
            maps = super().__call__(*given, **named)
            return np.broadcast_to(np.linspace(1, 0, SIDE, dtype=np.float32), maps.shape)

    monkeypatch.setitem(tutorial.METHODS, "gradcam", Left)
    photo, *overlays = panels_of(run())
    for overlay in overlays:
        red, _, blue = np.moveaxis(tint(overlay, photo), -1, 0)
        assert (red - blue)[:, 20:60].mean() > 100
        assert (blue - red)[:, -60:-20].mean() > 100


@pytest.mark.parametrize("smoothing", ["--aug_smooth", "--eigen_smooth"])
def test_smoothing_changes_the_maps_and_not_the_photo(smoothing: str, run: Run) -> None:
    plain, smooth = panels_of(run()), panels_of(run(smoothing))
    np.testing.assert_array_equal(smooth[0], plain[0])
    assert all(np.abs(one - other).mean() > 1 for one, other in zip(plain[1:], smooth[1:], strict=True))


def test_random_weights_are_the_same_each_time(run: Run) -> None:
    np.testing.assert_array_equal(run(), run())


def test_progress_goes_to_stderr(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run()
    out, err = capsys.readouterr()
    assert out.strip() == str(Path("_results", "result_cat.jpg"))
    assert [line.split(" ")[0] for line in err.splitlines()] == ["1/4", "2/4", "3/4", "4/4"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--image-path", "nowhere"], "no picture at nowhere"),
        (["--image-name", "dog.png"], "--image-name the file in it"),
        (["--weights", "pretrained"], "add --weights random"),
        (["--method", "gradcan"], "invalid choice"),
    ],
)
def test_errors_say_what_to_do(
    arguments: list[str], words: str, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(*arguments)
    assert words in capsys.readouterr().err
    assert not Path("_results").exists()


def test_weights_that_cannot_be_had(run: Run, tutorial: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("no route")

    monkeypatch.setattr(tutorial.timm, "create_model", offline)
    with pytest.raises(SystemExit, match=r"\(no route\): go online, or try --weights random"):
        run()


@pytest.mark.parametrize("shape", [(2, 6, 7, 7), (2, 7, 7, 6), (2, 49, 6), (2, 50, 6)])
def test_reshape_transform_finds_the_positions(shape: tuple[int, ...], tutorial: ModuleType) -> None:
    tensor = torch.arange(np.prod(shape)).reshape(shape)
    maps = tutorial.reshape_transform(tensor)
    assert maps.shape == (2, 6, 7, 7)
    positions = tensor.flatten(2).mT if shape[1:] == (6, 7, 7) else tensor.flatten(1, -2)[:, -49:]
    torch.testing.assert_close(maps.flatten(2).mT, positions)
