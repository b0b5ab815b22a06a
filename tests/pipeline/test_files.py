"""Results on disk: each has its own file, and nothing of the user's is ever replaced."""

import dataclasses
import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data
from test_explanation import made, photo

from camlucida import files
from camlucida.cli.model_options import ModelOptions
from camlucida.cli.options import Result
from camlucida.cli.outputs import Outputs, inputs_of, numbered, shortened
from camlucida.errors import OutputError
from camlucida.files import check_writable, is_own, remove_stale, save_picture, written_whole
from camlucida.pipeline.explanation import Explanation
from camlucida.pipeline.sheet import Sheet
from command import run

FOREIGN = {
    "a.png": lambda path: photo().save(path),
    "a.jpg": lambda path: photo().save(path, comment=b"my cat"),
    "a.webp": lambda path: photo().save(path),
    "a.npz": lambda path: np.savez(path, heatmap=np.zeros(3)),
    "a.json": lambda path: path.write_text('{"tool": "camlucida 0.1.0", "method": "gradcam"}'),
    "a.csv": lambda path: path.write_text("name,path\ncat,camlucida\n"),
    "text.png": lambda path: path.write_text("Software camlucida 0.1.0"),
    "empty.png": Path.touch,
}


@pytest.fixture
def cats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two pictures of one stem, in which the command is run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    Image.fromarray(data.chelsea()).save("plant.jpg")
    Image.fromarray(data.coffee()).save("plant.png")
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ---------------------------------------------------------------------------------------------- whose it is


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg", ".webp", ".npz"])
def test_what_camlucida_wrote_is_known_and_may_be_replaced(tmp_path: Path, suffix: str) -> None:
    path = made().save(tmp_path / f"a{suffix}")
    assert is_own(path)
    made(heatmap=torch.ones(3, 4)).save(path)
    assert all(map(is_own, tmp_path.iterdir()))  # the .json too


def test_a_sheet_is_known(tmp_path: Path) -> None:
    sheet = Sheet([[made()]], ["a"], [["b"]])
    assert is_own(sheet.save(tmp_path / "a.webp"))
    sheet.save(tmp_path / "a.webp")


@pytest.mark.parametrize(("name", "write"), FOREIGN.items(), ids=FOREIGN)
def test_what_others_wrote_is_not_replaced_unless_asked(tmp_path: Path, name: str, write: Any) -> None:
    path = tmp_path / name
    write(path)
    before = path.read_bytes()
    with (
        pytest.raises(OutputError, match=rf"{name} exists and camlucida did not write it: .*overwrite=True"),
        written_whole(path),
    ):
        pytest.fail("it would be written")
    assert contents(tmp_path) == {name: before}
    with written_whole(path, overwrite=True) as temporary:
        temporary.write_bytes(b"new")
    assert contents(tmp_path) == {name: b"new"}


@pytest.mark.parametrize("theirs", ["photo.npz", "photo.json"])
def test_of_a_raw_map_neither_file_replaces_anothers(tmp_path: Path, theirs: str) -> None:
    (tmp_path / theirs).write_text('{"mine": 1}')
    with pytest.raises(OutputError, match=f"{theirs} exists"):
        made().save(tmp_path / "photo.npz")
    assert contents(tmp_path) == {theirs: b'{"mine": 1}'}
    made().save(tmp_path / "photo.npz", overwrite=True)
    assert Explanation.load(tmp_path / "photo.npz").model == "some_model"


def test_python_replaces_when_it_is_told_to(tmp_path: Path) -> None:
    photo().save(tmp_path / "a.png")
    made().save(tmp_path / "a.png", overwrite=True)
    photo().save(tmp_path / "b.png")
    Sheet([[made()]], ["a"], [["b"]]).save(tmp_path / "b.png", overwrite=True)
    assert is_own(tmp_path / "a.png")
    assert is_own(tmp_path / "b.png")


def test_an_input_is_not_replaced_even_when_asked(tmp_path: Path) -> None:
    photo().save(tmp_path / "a.png")
    photo().save(tmp_path / "b.png")
    for never in ([tmp_path / "a.png"], [tmp_path / "b.png", tmp_path / "." / "a.png"]):
        with pytest.raises(OutputError, match=r"a\.png is an input of this run"):
            made().save(tmp_path / "a.png", never=never, overwrite=True)


def test_a_link_that_leads_nowhere_is_left(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to("gone")
    with pytest.raises(OutputError, match=r"a\.png cannot be written"):
        made().save(tmp_path / "a.png")


def test_a_file_that_cannot_be_read_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").touch()

    def denied(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)  # permissions do not bind root
    with pytest.raises(OutputError, match=r"cannot be written \(Permission denied\)"):
        check_writable(tmp_path / "a.png")


# ------------------------------------------------------------------------------------------------- the command


@pytest.mark.parametrize("order", [("plant.jpg", "plant.png"), ("plant.png", "plant.jpg")], ids=str)
@pytest.mark.parametrize("more", [(), ("--overwrite",), ("--save-raw",)], ids=str)
def test_explain_replaces_no_input(
    cats: Path, order: Any, more: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is refused before the first is drawn."""
    before = contents(cats)
    run("explain", *order, "--out", ".", *more, code=2)
    out, err = capsys.readouterr()
    assert contents(cats) == before
    assert out == ""
    assert "plant.png is an input of this run" in err
    assert err.count("\n") == 1


def test_later_names_replace_no_input_either(cats: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Names that follow from what was found are known only then."""
    Image.fromarray(data.chelsea()).save("plant-tabby.png")
    before = contents(cats)
    run("explain", "plant.jpg", "plant-tabby.png", "--target", 281, "--target", 282, "--out", ".", code=2)
    assert "plant-tabby.png is an input of this run" in capsys.readouterr().err
    after = contents(cats)
    assert {name: after[name] for name in before} == before


def test_compare_replaces_no_input(cats: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(data.chelsea()).save("plant-compare.png")
    before = contents(cats)
    run("compare", "plant.jpg", "plant-compare.png", "--out", ".", code=2)
    assert contents(cats) == before
    assert "plant-compare.png is an input of this run" in capsys.readouterr().err


def test_files_of_the_users_own_are_not_replaced(cats: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("results").mkdir()
    Path("results/plant.json").write_text('{"mine": 1}')
    before = contents(cats)
    run("explain", "plant.jpg", "--save-raw", code=2)
    assert contents(cats) == before
    assert "results/plant.json exists" in capsys.readouterr().err
    run("explain", "plant.jpg", "--save-raw", "--overwrite")
    run("explain", "plant.jpg", "--save-raw")
    assert json.loads(Path("results/plant.json").read_text())["written_by"] == files.WRITER


def test_weights_labels_and_models_are_inputs_too() -> None:
    options = ModelOptions(weights="w.pth", labels=Path("names.json"))
    found = inputs_of([Path("a.png")], ["mine.py:factory#layer", "resnet50"], options)
    assert found == [Path("a.png"), Path("w.pth"), Path("names.json"), Path("mine.py"), Path("resnet50")]


NAMES = {
    ("IMG", "IMG", "IMG-2"): ["IMG", "IMG-3", "IMG-2"],
    ("IMG-2", "IMG", "IMG"): ["IMG-2", "IMG", "IMG-3"],
    ("a", "a", "a", "a-2", "a-2"): ["a", "a-3", "a-4", "a-2", "a-2-2"],
    ("A", "a"): ["A", "a-2"],  # one file on some disks
    ("\u00e9", "e\u0301"): ["\u00e9", "e\u0301-2"],  # as Linux and macOS write it
    ("a", "b"): ["a", "b"],
}


@pytest.mark.parametrize(("names", "wanted"), NAMES.items(), ids=map(str, NAMES))
def test_no_two_results_share_a_name(names: Any, wanted: list[str]) -> None:
    assert numbered(names) == wanted


def test_each_picture_has_its_own_file(cats: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("IMG.jpg", "IMG.png", "IMG-2.jpg"):
        Image.fromarray(data.chelsea()).save(name)
    run("explain", "IMG.jpg", "IMG.png", "IMG-2.jpg")
    printed = [line.split("\t")[0] for line in capsys.readouterr().out.splitlines()]
    assert sorted(printed) == sorted(str(path) for path in Path("results").iterdir())
    assert len(printed) == 3


def test_a_later_name_is_numbered_if_another_has_it(tmp_path: Path) -> None:
    outputs = Outputs(Result(out=tmp_path), [])
    stems = ["IMG-tabby", "IMG-TABBY", "IMG", "IMG-tabby"]
    assert [outputs.path(stem).name for stem in stems] == [
        "IMG-tabby.png",
        "IMG-TABBY-2.png",
        "IMG.png",
        "IMG-tabby-3.png",
    ]


def test_classes_of_one_name_have_their_own_raw_maps(cats: Path) -> None:
    """ImageNet has two cranes."""
    run("compare", "plant.jpg", "--target", 134, "--target", 517, "--save-raw")
    maps = [Explanation.load(path).index for path in sorted(Path("results").glob("*crane*.npz"))]
    assert sorted(maps) == [134, 517]


@pytest.mark.parametrize("stem", ["a" * 251, "é" * 125, "漢" * 80])
def test_a_name_as_long_as_a_disk_takes(tmp_path: Path, stem: str) -> None:
    name = shortened(f"{stem}-compare")
    (tmp_path / f"{name}-12.webp").touch()
    assert name != shortened(f"{stem}-other")
    assert shortened("short") == "short"


# -------------------------------------------------------------------------------------------------- one piece


def test_the_npz_alone_is_the_whole_explanation(tmp_path: Path) -> None:
    """However its .json came to be: a run that was killed between the two pairs no map with another's facts."""
    made().save(tmp_path / "a.npz")
    (tmp_path / "a.json").write_text(json.dumps({**made().manifest(), "model": "another"}))
    assert Explanation.load(tmp_path / "a.npz").model == "some_model"
    (tmp_path / "a.json").unlink()
    assert Explanation.load(tmp_path / "a.npz").manifest() == made().manifest()


def test_an_option_that_json_does_not_know_is_shown_as_python_does(tmp_path: Path) -> None:
    odd = {"kind": torch.float16, "places": {3}, "ratio": 0.5}
    explanation = made(provenance=dataclasses.replace(made().provenance, options=odd))
    explanation.save(tmp_path / "a.npz")
    assert Explanation.load(tmp_path / "a.npz").provenance.options == {
        "kind": "torch.float16",
        "places": "{3}",
        "ratio": 0.5,
    }


def test_a_source_that_is_no_utf8_is_kept(tmp_path: Path) -> None:
    made(source=tmp_path / "r\udcff.png").save(tmp_path / "a.npz")
    assert Explanation.load(tmp_path / "a.npz").source == tmp_path / "r\udcff.png"
    assert json.loads((tmp_path / "a.json").read_text("utf-8"))["source"].endswith("r\udcff.png")


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
def test_permissions_follow_the_umask_which_is_never_touched(
    tmp_path: Path, mask: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = os.umask(mask)
    try:
        with monkeypatch.context() as patched:
            patched.setattr(
                os, "umask", lambda _mask: pytest.fail("the umask of the whole process was changed")
            )
            made().save(tmp_path / "a.png")
            made().save(tmp_path / "a.npz")
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o666 & ~mask}


FILLS_UP = """
import resource, signal, sys
from pathlib import Path
from PIL import Image
from camlucida.errors import OutputError
from camlucida.files import save_picture
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300, resource.RLIM_INFINITY))
try:
    save_picture(Image.effect_noise((99, 99), 80).convert("RGB"), Path(sys.argv[1]))
except OutputError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="the size of files cannot be limited there")
@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_a_disk_that_takes_only_a_part_is_noticed(tmp_path: Path, suffix: str) -> None:
    """As one does that is nearly full."""
    command = [sys.executable, "-c", FILLS_UP, str(tmp_path / f"a.{suffix}")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "cannot be written (File too large)" in said
    assert contents(tmp_path) == {}


# ----------------------------------------------------------------------------------------------- left behind

WRITES_FOR_EVER = """
import sys, time
from pathlib import Path
from camlucida.files import written_whole
with written_whole(Path(sys.argv[1])) as path:
    path.write_bytes(b"half")
    print("writing", flush=True)
    time.sleep(600)
"""


def test_what_a_killed_run_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITES_FOR_EVER, str(tmp_path / "a.png")]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == b"writing\n"
    killed, running = children
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert killed.stdout is not None
    killed.stdout.close()
    others = [".camlucida-notes", ".camlucida-12345.png", "mine.png"]
    for name in others:
        (tmp_path / name).touch()
    assert len(list(tmp_path.iterdir())) == 2 + len(others)
    remove_stale.cache_clear()
    try:
        made().save(tmp_path / "b.png")
        left = {path.name for path in tmp_path.iterdir()} - {*others, "b.png"}
        assert len(left) == 1  # what is still being written
    finally:
        running.kill()
        running.wait()
        assert running.stdout is not None
        running.stdout.close()


def test_a_file_whose_name_a_sweep_took_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between its making and its lock another run may take it for a left one."""
    lock, taken = files.flock, []

    def late(handle: int, how: int) -> None:
        if not taken:
            taken.append(next(tmp_path.glob(".camlucida-*")))
            taken[0].unlink()
        lock(handle, how)

    monkeypatch.setattr(files, "flock", late)
    save_picture(photo(), tmp_path / "a.png")
    assert is_own(tmp_path / "a.png")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_many_writers_at_once(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from camlucida.files import written_whole\n"
        "for i in range(40):\n"
        "    with written_whole(Path(sys.argv[1]) / f'{i}.csv', overwrite=True) as path:\n"
        "        path.write_text('x' * 999)"
    )
    children = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(3)]
    assert [child.wait() for child in children] == [0, 0, 0]
    assert {len(content) for content in contents(tmp_path).values()} == {999}
    assert len(contents(tmp_path)) == 40


# ------------------------------------------------------------------------------------------------- evaluations

SMALL = (
    "--model",
    "test_resnet",
    "--weights",
    "random",
    "--no-cache",
    "--method",
    "gradcam",
    "--metric",
    "sparseness",
)


@pytest.mark.parametrize("name", ["evaluation.csv", "evaluation.json", "ranking.png"])
@pytest.mark.parametrize("command", ["evaluate", "recommend"])
def test_an_evaluation_replaces_nobody_elses_file(
    cats: Path, capsys: pytest.CaptureFixture[str], name: str, command: str
) -> None:
    """It is refused before anything is measured."""
    Path("photos").mkdir()
    photo().save("photos/a.png")
    Path("out").mkdir()
    Path("out", name).write_bytes(b"mine")
    run(command, "photos", *SMALL, "--out", "out", code=2)
    assert contents(cats / "out") == {name: b"mine"}
    assert f"out/{name} exists" in capsys.readouterr().err
    run(command, "photos", *SMALL, "--out", "out", "--overwrite")
    run(command, "photos", *SMALL, "--out", "out")
    assert all(is_own(Path("out", one)) for one in ("evaluation.csv", "evaluation.json", "ranking.png"))


def test_an_evaluation_replaces_no_input(cats: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo().save("ranking.png")
    before = contents(cats)
    run("evaluate", ".", *SMALL, "--out", ".", "--overwrite", code=2)
    assert contents(cats) == before
    assert "ranking.png is an input of this run" in capsys.readouterr().err
    Path("evaluation.csv").write_text("path,label\nranking.png,3\n")
    before = contents(cats)
    run("evaluate", "evaluation.csv", *SMALL, "--out", ".", "--overwrite", code=2)
    assert contents(cats) == before


def results() -> set[str]:
    return {path.name for path in Path("results").iterdir()}


TINY = ("--model", "test_resnet", "--weights", "random", "--no-cache", "--quiet")


@pytest.mark.parametrize("form", ["png", "jpg", "webp"])
def test_a_result_of_another_run_stays_if_it_is_of_something_else(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    photo().save("plant.png")
    asked = ("explain", "plant.png", *TINY, "--format", form, "--target", "3")
    run(*asked)
    first = Path(f"results/plant.{form}").read_bytes()
    run(*asked, "-m", "eigencam")
    run(*asked, "-m", "eigencam", "--colormap", "jet")  # another drawing of the same
    run(*asked, "--layer", "layer2")
    run("explain", "plant.png", *TINY, "--format", form, "--target", "4")
    assert results() == {
        f"plant.{form}",
        f"plant-eigencam.{form}",
        f"plant-layer2.{form}",
        f"plant-hammerhead.{form}",
    }
    assert Path(f"results/plant.{form}").read_bytes() == first
    run(*asked, "-m", "eigencam", "--overwrite")
    assert Path(f"results/plant.{form}").read_bytes() != first
    assert len(results()) == 4
    capsys.readouterr()


def test_of_a_photo_of_the_same_name_and_of_other_sheets_there_is_a_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("a", "b"):
        Path(folder).mkdir()
        photo().save(f"{folder}/plant.png")
        for command in ("explain", "compare"):
            run(command, f"{folder}/plant.png", *TINY, "--target", "3")
    assert results() == {"plant.png", "plant-2.png", "plant-compare.png", "plant-compare-2.png"}
    Path("results/plant-eigencam.png").write_bytes(b"mine")
    run("explain", "a/plant.png", *TINY[:-1], "--target", "3", "-m", "eigencam")
    assert "results/plant-eigencam-2.png" in capsys.readouterr().out
    assert Path("results/plant-eigencam.png").read_bytes() == b"mine"


def test_raw_maps_of_another_run_stay_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    photo().save("plant.png")
    run("explain", "plant.png", *TINY, "--target", "3", "--save-raw", "--format", "jpg")
    before = Path("results/plant.npz").read_bytes()
    run("explain", "plant.png", *TINY, "--target", "3", "--save-raw", "-m", "eigencam")
    assert Path("results/plant.npz").read_bytes() == before
    assert Path("results/plant-eigencam.npz").exists()
