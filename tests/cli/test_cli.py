"""The command line as a user meets it, run in a process of its own where that matters."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from camlucida import Explanation
from camlucida.cli import app, main
from camlucida.errors import CamlucidaError
from camlucida.methods import registry
from command import run

RANDOM = ["--weights", "random"]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results go to ./results: not into the checkout."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)


@pytest.fixture
def cat(tmp_path: Path) -> Path:
    path = tmp_path / "cat.png"
    Image.fromarray(data.chelsea()).save(path)
    return path


def pixels(path: str | Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


def files_in(out: str) -> list[str]:
    return [line.split("\t")[0] for line in out.splitlines()]


def test_explain_draws_over_the_photo_at_its_own_size(cat: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("explain", cat)
    out, err = capsys.readouterr()
    assert out == "results/cat.png\ttiger cat 0.39\tgradcam\tefficientnet_lite0#bn2\n"
    assert err == ""
    drawn, photo = pixels("results/cat.png"), data.chelsea()
    assert drawn.shape == photo.shape
    np.testing.assert_array_equal(drawn[:, :90], photo[:, :90])  # what the crop left out is not tinted
    assert (drawn[20:280, 100:350] != photo[20:280, 100:350]).any(axis=2).mean() > 0.9


def test_explain_writes_one_file_a_map(cat: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("explain", cat, "--method", "layercam", "--target", "tabby", "--target", 207, "--layer", "blocks.4")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("\t")[0] for line in lines] == [
        "results/cat-tabby.png",
        "results/cat-golden-retriever.png",
    ]
    assert all(line.endswith("layercam\tefficientnet_lite0#blocks.4") for line in lines)


def test_equal_results_do_not_replace_each_other(cat: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("explain", cat, "--target", "tiger cat", "--target", 282)
    assert sorted(path.name for path in Path("results").iterdir()) == ["cat-2.png", "cat.png"]
    other = cat.parent / "elsewhere"
    other.mkdir()
    cat.rename(other / "cat.png")
    Image.fromarray(data.coffee()).save("cat.png")
    capsys.readouterr()
    run("explain", "cat.png", other, "--out", "both", "--quiet")
    assert [line.split("\t")[0] for line in capsys.readouterr().out.splitlines()] == [
        "both/cat.png",
        "both/cat-2.png",
    ]


def test_save_raw_can_be_read_back(cat: Path) -> None:
    run("explain", cat, "--save-raw", "--format", "jpg", "--out", "raw")
    loaded = Explanation.load("raw/cat.npz")
    assert (loaded.label, loaded.layer, loaded.heatmap.shape) == ("tiger cat", "bn2", (7, 7))
    manifest = json.loads(Path("raw/cat.json").read_text(encoding="utf-8"))
    assert manifest["versions"]["camlucida"]
    assert manifest["frame"]["picture"] == [300, 451]
    with Image.open("raw/cat.jpg") as picture:
        assert picture.format == "JPEG"


def test_every_method_runs_from_the_command_line(cat: Path) -> None:
    asked = [part for method in registry.all_methods() for part in ("--method", method)]
    run("explain", cat, *asked, "--out", "maps")
    written = {path.name: pixels(path).shape for path in Path("maps").glob("*.png")}
    assert len(written) == len(registry.all_methods())
    assert set(written.values()) == {(300, 451, 3)}


def test_options_reach_the_method(cat: Path) -> None:
    for seed in (0, 1):
        run("explain", cat, "--method", "random", "--option", f"random.seed={seed}", "--out", f"{seed}.png")
    assert Path("0.png").read_bytes() != Path("1.png").read_bytes()


@pytest.mark.parametrize(
    ("drawing", "differs"),
    [
        (["--alpha", 0], False),
        (["--alpha", 0.9], True),
        (["--colormap", "RdBu_r"], True),
        (["--scale", "raw"], True),
    ],
)
def test_drawing_options(drawing: list[object], differs: bool, cat: Path) -> None:
    run("explain", cat, *drawing, "--out", "drawn.png")
    assert (pixels("drawn.png") != data.chelsea()).any() == differs


def test_random_weights_are_stamped(cat: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("explain", cat, "--model", "resnet10t", *RANDOM, "--alpha", 0, "--quiet")
    corner = pixels("results/cat.png")[-20:, :40]
    assert (corner != data.chelsea()[-20:, :40]).any()
    assert capsys.readouterr().err == ""


def test_compare_makes_a_contact_sheet(cat: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models = ["--model", "resnet10t", "--model", "resnet10t#layer3"]
    run("compare", cat, *models, "--method", "gradcam", "--method", "eigencam", *RANDOM, "--save-raw")
    assert capsys.readouterr().out == "results/cat-compare.png\n"
    height, width, _ = pixels("results/cat-compare.png").shape
    assert width > 3 * 288
    assert height > 2 * 192
    assert len(list(Path("results").glob("*.npz"))) == 4


def test_tutorial_models_are_the_tutorials(cat: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def stop(models: list[str], *rest: object) -> None:
        asked.extend(models)

    monkeypatch.setattr("camlucida.cli.compare.draw_sheets", stop)
    run("compare", cat, "--tutorial")
    assert asked == ["resnet50", "vit_base_patch16_224", "swin_base_patch4_window7_224", "convnext_base"]


def test_one_bad_picture_does_not_stop_the_others(cat: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("bad.png").write_text("no picture", encoding="utf-8")
    run("explain", "bad.png", "missing.jpg", cat, code=2)
    out, err = capsys.readouterr()
    assert out.startswith("results/cat.png\t")
    assert "bad.png is not a picture" in err
    assert "no picture at missing.jpg" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["explain", "missing.jpg"], "no picture at missing.jpg"),
        (["explain", "cat.png", "--model", "resnet5O"], "did you mean 'resnet50'"),
        (["explain", "cat.png", "--method", "gradcan"], "did you mean 'gradcam'"),
        (["explain", "cat.png", "--target", "cat"], "281 tabby"),
        (["explain", "cat.png", "--target", "1000"], "classes 0 to 999"),
        (["explain", "cat.png", "--target", "unicorn"], "is not known"),
        (["explain", "cat.png", "--layer", "bn3"], "did you mean"),
        (["explain", "cat.png", "--layer", "classifier"], "fits no grid of positions"),
        (["explain", "cat.png", "--alpha", "2"], "from 0 to 1"),
        (["explain", "cat.png", "--colormap", "turboo"], "did you mean 'turbo'"),
        (["explain", "cat.png", "--option", "seed=1"], "name.option=value"),
        (["explain", "cat.png", "--option", "random.seed=1"], "random, which is not used here"),
        (["explain", "cat.png", "--method", "random", "--option", "random.seed=x"], "takes a int"),
        (["explain", "cat.png", "--method", "random", "--option", "random.sed=1"], "its options are: seed"),
        (["explain", "cat.png", "--out", "cat.png"], "would be overwritten"),
        (["explain", "cat.png", "--out", "a.png", "--target", "1", "--target", "2"], "give a folder"),
        (["explain", "cat.png", "--out", "fig.pdf"], "pictures are written as .png"),
        (["explain", "cat.png", "--out", "fig.svg"], "give such a name, or a folder"),
        (["evaluate", "cat.png", "--out", "table.csv"], "go into a folder"),
        (["doctor", "--out", "page.html"], "go into a folder"),
        (["explain", "cat.png", "--activation", "soft"], "--activation"),
        (["explain", "cat.png", "--weights", "none.pth"], "no weights at none.pth"),
        (["explain", "cat.png", "--device", "tpu"], "--device"),
        (["explain", "cat.png", "--nonesuch"], "--nonesuch"),
        (["explain"], "PICTURES"),
        (["explian", "cat.png"], 'Did you mean "explain"'),
        (["models", "nonesuch*"], "no model fits"),
        (["layers", "nonesuch"], "is not known"),
    ],
    ids=lambda value: " ".join(value)[:50] if isinstance(value, list) else "",
)
def test_errors_are_one_line_with_the_next_step(
    arguments: list[str], words: str, cat: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = cat.read_bytes()
    run(*arguments, code=2)
    out, err = capsys.readouterr()
    assert words in err
    assert err.startswith("camlucida: ")
    assert err.count("\n") == 1
    assert out == ""
    assert cat.read_bytes() == before
    assert [path.name for path in Path().iterdir()] == ["cat.png"]  # nothing half-written


def test_a_traceback_only_with_debug() -> None:
    with pytest.raises(CamlucidaError, match=r"no picture at missing\.jpg"):
        main(["explain", "missing.jpg", "--debug"])


def test_lists(capsys: pytest.CaptureFixture[str]) -> None:
    run("models", "efficientnet_lite*")
    assert "efficientnet_lite0\there\n" in capsys.readouterr().out
    run("models", "convnext_b*", "--here")
    assert capsys.readouterr().out == ""
    run("methods")
    listed = capsys.readouterr().out
    assert all(re.search(rf"^{re.escape(name)} ", listed, re.M) for name in registry.all_methods())
    run("layers", "resnet10t", "--weights", "random", "--no-cache")
    assert re.search(
        r"^layer4 +Sequential +2×512×\d+×\d+ +NCHW \d+×\d+ +\w+ \S+ +← default$", capsys.readouterr().out, re.M
    )


@pytest.mark.parametrize("command", ["", "explain", "compare", "models", "methods", "layers", "demo"])
def test_help_teaches(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """That it is fast is asserted by its reason: test_imports.test_nothing_heavy_is_loaded."""
    run(*command.split(), "--help")
    out = capsys.readouterr().out
    assert f"Usage: camlucida {command}".strip() in out
    assert ("camlucida explain photo.jpg" in out) == (command == "")  # where to begin stands on the first page


def test_the_command_is_quiet_about_colours_where_asked(cat: Path) -> None:
    environment = {**os.environ, "NO_COLOR": "1"}
    command = [sys.executable, "-m", "camlucida", "explain", "missing.jpg"]
    run_ = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert run_.returncode == 2
    assert "\x1b[" not in run_.stderr
    assert run_.stdout == ""


def test_app_has_the_commands() -> None:
    assert {"explain", "compare", "demo", "models", "methods", "layers"} <= set(app)


@pytest.mark.parametrize("command", ["methods", "metrics"])
def test_a_reader_that_has_seen_enough_is_no_error(command: str) -> None:
    """As in `camlucida methods | head -1`."""
    child = subprocess.Popen(
        [sys.executable, "-m", "camlucida", command], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert child.stdout is not None
    child.stdout.close()
    _, said = child.communicate()
    assert (child.returncode, said) == (141, b"")
