"""What a person types first works, or says what to type."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from skimage import data

import camlucida as cl
import zoo
from camlucida import Explainer, TopClass
from camlucida.errors import LayerError, TargetError
from camlucida.tables import counted, format_table, narrowed
from command import run

ROOT = Path(cl.__file__).parent
DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(autouse=True)
def _cat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    Image.fromarray(data.chelsea()).save("cat.png")


def test_the_top_classes_on_one_sheet(capsys: pytest.CaptureFixture[str]) -> None:
    run("compare", "cat.png", "--top", 3, "-o", "sheet.png")
    assert capsys.readouterr().out == "sheet.png\n"
    sheet = cl.compare("cat.png", targets=[TopClass(rank) for rank in (1, 2, 3)])
    assert list(sheet.columns) == ["top 1", "top 2", "top 3"]
    (row,) = sheet.rows
    probabilities = [one.probability for one in row]
    assert probabilities == sorted(probabilities, reverse=True)
    assert len({one.index for one in row}) == 3


@pytest.mark.parametrize("rank", [0, 11])
def test_a_place_that_no_class_has_is_refused(rank: int) -> None:
    with pytest.raises(TargetError, match=f"has 10 classes, so there is no rank {rank}"):
        Explainer(zoo.resnet()).explain(zoo.noise(), targets=TopClass(rank))


def test_results_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    run("explain", "cat.png", "-m", "GradCAM", "--top", 2, "--json", "-o", "out")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["label"] for line in lines] == ["tiger cat", "Egyptian cat"]
    assert lines[0]["file"] == "out/cat-tiger-cat.png"
    assert lines[0]["probability"] > lines[1]["probability"]


def test_a_contrast_from_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    run("explain", "cat.png", "--contrast", "tiger cat", "tabby", "--target", "tabby - tiger cat", "--save-raw")
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in lines] == [
        "results/cat-tabby-minus-tiger-cat.png",
        "results/cat-tiger-cat-minus-tabby.png",
    ]
    told = json.loads(Path("results/cat-tiger-cat-minus-tabby.json").read_text(encoding="utf-8"))
    assert told["target"] == "tiger cat \N{MINUS SIGN} tabby"
    assert lines[1][1] == f"{told['target']}, score {told['score']:.3g}"


def test_explain_enters_folders_of_classes(capsys: pytest.CaptureFixture[str]) -> None:
    Path("photos/tiger cat").mkdir(parents=True)
    Path("cat.png").rename("photos/tiger cat/cat.png")
    run("explain", "photos")
    assert capsys.readouterr().out.startswith("results/cat.png\ttiger cat")


def test_what_a_checkpoint_needed_is_a_note(capsys: pytest.CaptureFixture[str]) -> None:
    import timm

    state = timm.create_model("resnet10t").state_dict()
    torch.save({"state_dict": {f"net.{name}": value for name, value in state.items()}}, "last.ckpt")
    run("explain", "cat.png", "--model", "resnet10t", "--weights", "last.ckpt")
    out, err = capsys.readouterr()
    assert out.startswith("results/cat.png\t")
    assert "note: names of weights in last.ckpt begin with 'net.', which is taken away" in err


def test_layers_are_listed_by_grid_unless_all_are_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    run("layers", "resnet10t", "--weights", "random", "--no-cache")
    short = capsys.readouterr().out
    run("layers", "resnet10t", "--weights", "random", "--no-cache", "--all")
    whole = capsys.readouterr().out
    assert len(short.splitlines()) < 12 < len(whole.splitlines())
    grids = re.findall(r"NCHW (\S+)", short)
    assert len(grids) == len(set(grids)) == len(set(re.findall(r"NCHW (\S+)", whole)))
    assert re.search(r"^\d+ other layers with `--all`$", short, re.M)


def test_a_table_fits_the_terminal() -> None:
    rows = [["method", "what it shows"], ["gradcam", "word " * 60], ["cam", ""]]
    assert max(map(len, format_table(narrowed(rows, 40)).splitlines())) <= 40
    assert narrowed(rows, 1000) == rows


def test_one_is_no_plural() -> None:
    assert (counted(1, "picture"), counted(0, "picture"), counted(2, "picture")) == (
        "1 picture",
        "0 pictures",
        "2 pictures",
    )


def test_a_wrong_option_leads_to_the_commands_own_help(capsys: pytest.CaptureFixture[str]) -> None:
    run("explain", "cat.png", "--nonesuch", code=2)
    assert "`camlucida explain --help`" in capsys.readouterr().err


def test_every_finding_is_on_the_page_of_findings() -> None:
    page = (DOCS / "findings.md").read_text(encoding="utf-8")
    codes = {
        code
        for path in ROOT.rglob("*.py")
        for code in re.findall(r"Finding\(\s*\"([a-z-]+)\"", path.read_text(encoding="utf-8"))
    }
    assert {"draws-lots", "leans-on-batch", "narrow-range", "coarse"} <= codes
    assert {code for code in codes if f"`{code}`" not in page} == set()


def test_doctor_says_what_the_preprocessing_does() -> None:
    from torchvision import transforms

    from camlucida.pipeline import diagnosis

    steps = [transforms.Resize(96), transforms.CenterCrop(96), transforms.ToTensor()]
    explainer = Explainer(zoo.resnet(), preprocess=transforms.Compose(steps))
    noise = diagnosis.noise_for(explainer)
    assert tuple(noise.shape) == (3, 96, 96)
    said = dict(diagnosis.facts(explainer, noise, 1.0))["pictures"]
    assert said == "one of 640×480 pixels is seen from 80, 0 to 560, 480 and becomes 3×96×96"


def test_a_head_of_zeros_is_named_as_the_reason() -> None:
    module = zoo.resnet()
    head = [part for part in module.modules() if isinstance(part, torch.nn.Linear)][-1]
    torch.nn.init.zeros_(head.weight)
    with pytest.raises(LayerError, match="no gradient reaches any layer: weights that make it are zero"):
        cl.explain(zoo.noise()[0], module)


def test_where_to_begin_stands_on_the_first_page_alone(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("explain", "evaluate", "doctor", "cache"):
        run(command, "--help")
        assert "Begin with" not in capsys.readouterr().out
    run("--help")
    assert "Begin with" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["explain", "compare", "evaluate", "recommend", "doctor", "layers"])
def test_help_promises_one_value_for_an_option(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(command, "--help")
    assert "..." not in capsys.readouterr().out


def test_several_values_behind_one_option_are_told_how(capsys: pytest.CaptureFixture[str]) -> None:
    run("explain", "a.png", "-m", "gradcam", "eigencam", code=2)
    assert "repeat an option for several values" in capsys.readouterr().err


def test_models_with_checkpoints_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import timm

    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (40, 40), (200, 30, 30)).save("photo.png")
    for seed in (0, 1):
        torch.manual_seed(seed)
        torch.save(timm.create_model("test_resnet", num_classes=3).state_dict(), f"{seed}.pt")
    both = cl.compare("photo.png", ["test_resnet@0.pt", "test_resnet@1.pt#layer2"], targets=1, cache=False)
    assert [one.model for one in both.explanations] == ["test_resnet@0.pt", "test_resnet@1.pt"]
    assert both.explanations[1].layer == "layer2"
    alone = cl.explain("photo.png", "test_resnet", target=1, weights="1.pt", layer="layer2")
    assert torch.equal(both.explanations[1].heatmap, alone.heatmap)
    run("explain", "photo.png", "--model", "test_resnet@0.pt", "-o", "0.pt", code=2)  # an input, and no folder
    Path("net.py").write_text("import timm\nmodel = timm.create_model('test_resnet', num_classes=3)\n")
    own = cl.explain("photo.png", "net.py:model@1.pt#layer2", target=1)
    assert torch.equal(own.heatmap, alone.heatmap)
    run("explain", "photo.png", "--model", "test_resnet@0.pt", "--weights", "random", code=2)
    assert "omit one of them" in capsys.readouterr().err


def test_a_picture_from_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import io

    monkeypatch.chdir(tmp_path)
    data = io.BytesIO()
    Image.new("RGB", (40, 40), (200, 30, 30)).save(data, format="PNG")
    for content, code in ((data.getvalue(), 0), (b"", 2)):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        run("explain", "-", "--model", "test_resnet", "--weights", "random", "--quiet", code=code)
    said = capsys.readouterr()
    assert said.out.startswith("results/stdin.png\t")
    assert "is empty" in said.err
