"""Rows on disk: what was measured is used again for what it is of alone, and damage never ends a run."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import Compose, Resize, ToTensor

import camlucida
import zoo
from camlucida import Explainer
from camlucida.errors import LayerError, OptionError, OutputError
from camlucida.evaluation import report
from camlucida.evaluation.dataset import Item
from camlucida.evaluation.evaluator import Evaluator, TensorItem
from camlucida.evaluation.row_store import Records, what_rows_are_of
from camlucida.evaluation.run import Evaluation, evaluate, map_sources, metrics_of
from camlucida.models.fingerprint import of_model, without_addresses
from command import run as run_command

SMALL = Compose([Resize((64, 64)), ToTensor()])
MODEL = ("--model", "test_resnet.r160_in1k", "--weights", "random")


def picture(path: Path, seed: int = 0, size: tuple[int, int] = (64, 64)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(256, size=(*size, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


@pytest.fixture
def items(tmp_path: Path) -> list[Item]:
    return [Item(picture(tmp_path / "photos" / f"{i}.png", i)) for i in range(3)]


@cache
def resnet() -> Explainer:
    return Explainer(zoo.resnet(), preprocess=SMALL)


def measured(
    folder: Path,
    items: Sequence[Any],
    methods: Sequence[str] = ("gradcam",),
    metrics: Sequence[str] = ("entropy",),
    **settings: Any,
) -> Evaluation:
    """A run as the command makes it, and how many variants of pictures it ran."""
    explainer = settings.get("explainer") or resnet()
    options, given = settings.get("options", {}), settings.get("given", {})
    evaluator = Evaluator(
        explainer, map_sources(methods), metrics_of(metrics, given), settings.get("seed", 0), options
    )
    of = what_rows_are_of(explainer, evaluator.seed)
    return evaluate(evaluator, items, Records(folder, of, evaluator.metrics, options))


def numbers(found: Evaluation) -> dict[tuple[str, str], dict[str, float]]:
    return {(row.path, row.source): dict(row.values) for row in found.rows}


def lines_of(folder: Path) -> list[bytes]:
    return (folder / "rows.jsonl").read_bytes().splitlines()


# -- what is used again ------------------------------------------------------------------------------------


def test_a_run_goes_on_where_it_was(tmp_path: Path, items: list[Item]) -> None:
    whole = measured(tmp_path / "whole", items)
    first = measured(tmp_path / "cut", items[:2])
    assert first.asked > 0
    both = measured(tmp_path / "cut", items)
    assert numbers(both) == numbers(whole)
    assert [row.path for row in both.rows] == [row.path for row in whole.rows]
    assert measured(tmp_path / "cut", items).asked == 0
    assert len(lines_of(tmp_path / "cut")) == 1 + 3 * 4
    assert {row.path for row in measured(tmp_path / "cut", items[1:]).rows} == {
        str(one.path) for one in items[1:]
    }


def test_other_methods_and_measures_are_measured_beside(tmp_path: Path, items: list[Item]) -> None:
    """And what is known of them is not measured again."""
    measured(tmp_path, items)
    more = measured(tmp_path, items, ["gradcam", "layercam"], ["entropy", "average_drop"])
    alone = measured(tmp_path / "alone", items, ["gradcam", "layercam"], ["entropy", "average_drop"])
    assert numbers(more) == numbers(alone)
    assert list(more.rows[0].values) == ["entropy", "average_drop"]
    assert measured(tmp_path, items, ["layercam"], ["average_drop"]).asked == 0
    assert measured(tmp_path, items).asked == 0


@pytest.mark.parametrize(
    "change", ["weights", "buffer", "seed", "option", "setting", "picture", "class", "build"]
)
def test_what_is_of_something_else_is_measured_anew(tmp_path: Path, items: list[Item], change: str) -> None:
    """Rows of other weights at the same path, other options and settings, another picture under the name."""
    net = zoo.resnet()
    asked: dict[str, Any] = {
        "methods": ["random"],
        "metrics": ["deletion"],
        "given": {"deletion": {"steps": 2}},
    }
    measured(tmp_path, items[:1], explainer=Explainer(net, preprocess=SMALL), **asked)
    target = items[0]
    with torch.no_grad():
        if change == "weights":
            net.fc.bias[3] += 0.5
        elif change == "buffer":
            next(net.buffers()).add_(0.5)
        elif change == "build":
            net.act = nn.LeakyReLU(0.2)
    if change == "seed":
        asked["seed"] = 1
    elif change == "option":
        asked["options"] = {"random": {"seed": 4}}
    elif change == "setting":
        asked["given"] = {"deletion": {"steps": 3}}
    elif change == "picture":
        picture(target.path, 9)
    elif change == "class":
        target = Item(target.path, 3)
    found = measured(tmp_path, [target], explainer=Explainer(net, preprocess=SMALL), **asked)
    assert found.asked > 0
    fresh = measured(tmp_path / "fresh", [target], explainer=Explainer(net, preprocess=SMALL), **asked)
    assert numbers(found) == numbers(fresh)


def test_a_fingerprint_is_of_numbers_and_build() -> None:
    net = zoo.resnet()
    assert of_model(net) == of_model(zoo.resnet())
    assert of_model(net) != of_model(net.double())
    odd = nn.Module()
    odd.register_buffer("sparse", torch.eye(3).to_sparse())
    odd.register_buffer("nothing", torch.empty(0))
    odd.register_buffer("flag", torch.tensor(True))
    odd.register_parameter("meta", nn.Parameter(torch.empty(2, device="meta")))
    odd.lazy = nn.LazyLinear(3)
    before = of_model(odd)
    odd.flag.fill_(False)
    assert of_model(odd) != before
    assert without_addresses(repr(lambda: 0)) == without_addresses(repr(lambda: 0))


# -- damage ------------------------------------------------------------------------------------------------


def row(**changed: Any) -> bytes:
    told = {
        "path": "a.png",
        "way": "gradcam",
        "index": 1,
        "probability": 0.5,
        "score": 1.5,
        "values": {"entropy": 0.5},
        "seconds": 0.1,
        "key": "k",
        "predicted": 1,
        "right": None,
        "of": "x",
        "settings": {"entropy": {}},
    }
    return json.dumps(told | changed).encode()


BAD = {
    "cut": row()[:-9],
    "not UTF-8": b'{"path": "\xff',
    "no object": b"[1, 2]",
    "too deep": b"[" * 100_000,
    "other fields": b'{"path": "a"}',
    "text for a number": row(probability="high"),
    "text for a value": row(values={"entropy": "x"}),
    "flag for a number": row(seconds=True),
    "flag for an index": row(index=True),
    "index below zero": row(index=-1),
    "list for values": row(values=[1]),
    "no settings of a value": row(settings={}),
    "number for a path": row(path=3),
    "huge number": b'{"index": ' + b"9" * 6000 + b"}",
    "empty": b"",
}


@pytest.mark.parametrize("damage", BAD)
def test_a_line_that_is_no_row_is_left_out(tmp_path: Path, items: list[Item], damage: str) -> None:
    whole = measured(tmp_path, items[:2])
    path = tmp_path / "rows.jsonl"
    good = path.read_bytes()
    lines = good.splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], BAD[damage] + b"\n", *lines[3:]]))
    again = measured(tmp_path, items[:2])
    assert again.asked == 0
    assert numbers(again) == numbers(whole)
    assert path.read_bytes() == good
    path.write_bytes(good + BAD["cut"])  # as when the disk was full, or the run killed
    assert numbers(measured(tmp_path, items[:2])) == numbers(whole)
    assert measured(tmp_path, items).pictures == 3
    assert measured(tmp_path, items).asked == 0


@pytest.mark.parametrize("content", [b"my own notes\n", b"\xff\xfe\x00", b'{"ways": ["gradcam"]}\n', b"\n"])
def test_a_file_of_somebody_else_is_left_alone(tmp_path: Path, items: list[Item], content: bytes) -> None:
    (tmp_path / "rows.jsonl").write_bytes(content)
    with pytest.raises(OutputError, match="give another folder or remove it"):
        measured(tmp_path, items)
    assert (tmp_path / "rows.jsonl").read_bytes() == content


def test_an_empty_file_is_begun(tmp_path: Path, items: list[Item]) -> None:
    (tmp_path / "rows.jsonl").touch()
    measured(tmp_path, items[:1])
    assert measured(tmp_path, items[:1]).asked == 0


class Full:
    """A file on a disk that takes ``room`` bytes more."""

    def __init__(self, file: Any, room: int) -> None:
        self.file, self.room = file, room

    def __enter__(self) -> Full:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def write(self, text: bytes) -> int:
        self.file.write(text[: self.room])
        if len(text) > self.room:
            self.file.flush()
            raise OSError(errno.ENOSPC, "No space left on device")
        self.room -= len(text)
        return len(text)


def test_a_full_disk_is_said_and_the_run_goes_on_afterwards(
    tmp_path: Path, items: list[Item], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = measured(tmp_path / "whole", items)
    opened: Callable[..., Any] = Path.open
    full = True

    def open_(self: Path, mode: str = "r", *rest: Any, **named: Any) -> Any:
        file = opened(self, mode, *rest, **named)
        return Full(file, 150) if full and self.name == "rows.jsonl" and mode == "ab" else file

    monkeypatch.setattr(Path, "open", open_)
    with pytest.raises(OutputError, match=r"No space left on device\): make room and run it again"):
        measured(tmp_path / "cut", items)
    full = False
    assert numbers(measured(tmp_path / "cut", items)) == numbers(whole)


# -- one odd picture ---------------------------------------------------------------------------------------


class Choosy(nn.Module):
    """Refuses what is bright, in its own way."""

    def __init__(self, error: Callable[[], Exception]) -> None:
        super().__init__()
        self.net, self.error = zoo.resnet(), error

    def forward(self, pictures: Tensor) -> Tensor:
        if pictures.mean() > 5:
            raise self.error()
        return self.net(pictures)


@pytest.mark.parametrize(
    "error",
    [
        lambda: RuntimeError("too bright"),
        lambda: KeyError("too bright"),
        ZeroDivisionError,
        lambda: OptionError("too bright"),
        lambda: LayerError("too bright"),
    ],
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_odd_picture_never_ends_a_run(error: Callable[[], Exception], place: int) -> None:
    given = [TensorItem(str(i), zoo.noise()[0] + 100 * (i == place)) for i in range(3)]
    evaluator = Evaluator(Explainer(Choosy(error)), map_sources(["gradcam"]), metrics_of(["entropy"]))
    found = evaluate(evaluator, given)
    assert {row.path for row in found.rows} == {"0", "1", "2"} - {str(place)}
    assert list(found.failed) == [str(place)]
    assert found.failed[str(place)] == "ZeroDivisionError" or "too bright" in found.failed[str(place)]


def test_what_is_the_same_for_each_picture_ends_it(tmp_path: Path, items: list[Item]) -> None:
    """Also where the floors of all pictures are known from before."""
    net = Explainer(zoo.vit(), preprocess=SMALL)
    measured(tmp_path, items, explainer=net)
    with pytest.raises(LayerError, match="cam needs the layer"):
        measured(tmp_path, items, ["cam"], explainer=net)
    with pytest.raises(OptionError, match="steps is at least 1"):
        measured(tmp_path, items, metrics=["deletion"], given={"deletion": {"steps": 0}})


# -- the commands, as README shows them --------------------------------------------------------------------


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for i, name in enumerate(("tench", "goldfish", "tiger shark", "hammerhead")):
        picture(tmp_path / "photos" / name / "a.png", i)
    return tmp_path


def test_one_after_the_other_on_one_folder(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = (*MODEL, "--metric", "entropy", "--quiet")
    run_command("evaluate", "photos/", *asked, "--method", "gradcam")
    run_command("evaluate", "photos/", *asked, "--method", "layercam")
    run_command("evaluate", "photos/", *asked, "--method", "gradcam", "--metric", "average_drop")
    run_command("recommend", "photos/", *asked, "--method", "gradcam")
    run_command("evaluate", "photos/", *asked, "--method", "gradcam", "--seed", 1)
    run_command(
        "evaluate",
        "photos/",
        *MODEL[:2],
        "--weights",
        "random",
        "--metric",
        "entropy",
        "--dtype",
        "float64",
        "--quiet",
    )
    capsys.readouterr()
    run_command(
        "evaluate", "photos/", *MODEL, "--metric", "entropy", "--method", "gradcam", "--method", "layercam"
    )
    assert "variants run" not in capsys.readouterr().err  # all of it was known
    assert {one.name for one in (here / "results").iterdir()} == {"photos-evaluate", "photos-recommend"}
    run_command("evaluate", "photos/", *asked, "--grid", 2, "--grids", 2, "--method", "gradcam", code=2)
    assert "classes, got" in capsys.readouterr().err  # random weights know nothing; not: rows of another run


def test_what_camlucida_wrote_is_never_evaluated(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder `results` of an earlier run lies among the pictures."""
    monkey = picture(here / "photos" / "results" / "a.png", 7)
    asked = (*MODEL, "--metric", "entropy", "--method", "gradcam", "--out", "out")
    run_command("evaluate", "photos", *asked, "--quiet")
    told = json.loads((here / "out" / "evaluation.json").read_text())
    assert told["pictures"] == 4
    assert next(iter(told)) == "written_by"
    assert monkey.exists()
    with Image.open(here / "out" / "ranking.png") as drawn:
        assert drawn.info["Software"].startswith("camlucida ")
    table = (here / "out" / "evaluation.csv").read_text().splitlines()
    assert table[0] == "path,way,class,probability,score,predicted,right,entropy"
    for line in table[1:]:
        fields = line.split(",")
        assert fields[6] == str(fields[2] == fields[5])


def test_a_source_that_is_none(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "empty").mkdir()
    for command in ("evaluate", "recommend"):
        for source, said in (("nope", "nope does not exist"), ("empty", "holds no picture")):
            run_command(command, source, *MODEL, code=2)
            assert said in capsys.readouterr().err
    with pytest.raises(camlucida.errors.PictureError, match="nope does not exist"):
        camlucida.evaluate("nope", zoo.resnet())
    assert not (here / "results").exists()


def test_damage_is_said(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = (*MODEL, "--metric", "entropy", "--method", "gradcam")
    run_command("evaluate", "photos", *asked, "--quiet")
    with (here / "results" / "photos-evaluate" / "rows.jsonl").open("ab") as file:
        file.write(b'{"path": "\xff\n')
    run_command("evaluate", "photos", *asked)
    assert "1 damaged line" in capsys.readouterr().err


def test_rows_know_the_predicted_class() -> None:
    noise = zoo.noise()[0]
    evaluator = Evaluator(
        Explainer(zoo.resnet()), map_sources(["gradcam"], controls=False), metrics_of(["entropy"])
    )
    (free,) = evaluator.rows(TensorItem("x", noise))
    top = free.index
    assert (free.predicted, free.right) == (top, None)
    for target in (top, (top + 1) % 10):
        (told,) = evaluator.rows(TensorItem("x", noise, target))
        assert (told.index, told.predicted, told.right) == (target, top, target == top)


def test_a_name_that_is_not_utf_8_is_written(tmp_path: Path) -> None:
    """As any file's name may be on Linux: its bytes are escaped in the files, and found again in the rows."""
    odd = f"{tmp_path}/photo-\udcff\n.png"
    given = [TensorItem(odd, zoo.noise()[0])]
    explainer = Explainer(zoo.resnet())
    found = measured(tmp_path, given, explainer=explainer)
    found.failed[odd] = "why not"
    assert measured(tmp_path, given, explainer=explainer).asked == 0
    paths = report.write(found, tmp_path / "out", {"model": "net"})
    assert list(json.loads(paths[0].read_text(encoding="utf-8"))["failed"]) == [odd]
    assert "photo-\\udcff" in paths[1].read_text(encoding="utf-8")
