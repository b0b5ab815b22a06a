"""The command on what people really bring: odd pictures among good ones, odd names, streams, environments."""

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from camlucida.cli import talk
from camlucida.errors import printable
from camlucida.pipeline import explainer as pipeline
from command import run

TINY = ["--model", "test_resnet", "--weights", "random", "--no-cache"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder `f` with one good picture, in whose parent the command is run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    Path("f").mkdir()
    photo().save("f/good.png")
    return tmp_path


def photo() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8))


# -------------------------------------------------------------------------------------------------- pictures


def test_no_picture_ends_a_run_over_a_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("f/a.png").write_bytes(b"\x89PNG\r\n\x1a\nxx")
    Path("f/b.jpg").write_bytes(b"%!PS-Adobe")
    Image.new("RGB", (60_000, 2)).save("f/long.png")
    photo().save("f/photo.jfif", "JPEG")
    for name in ("._good.png", "notes.txt"):
        Path("f", name).write_bytes(b"\0\x05\x16\x07")
    run("explain", "f", *TINY, code=2)
    out, err = capsys.readouterr()
    assert [line.split("\t")[0] for line in out.splitlines()] == ["results/good.png", "results/photo.png"]
    said = err.splitlines()
    assert said[0] == "note: passed over, being no pictures by their names: ._good.png, notes.txt"
    assert [line.split()[1] for line in said[1:]] == ["f/a.png", "f/b.jpg", "f/long.png:"]


@pytest.mark.parametrize(
    "error", [AttributeError("no encode"), KeyError("x"), MemoryError(), RecursionError("deep")]
)
@pytest.mark.parametrize("command", ["explain", "compare"])
def test_whatever_is_raised_is_one_pictures(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    command: str,
) -> None:
    photo().save("f/bad.png")
    explain = pipeline.explain_batch

    def failing(model: Any, job: Any, batch_size: int) -> Any:
        if any(one.source.name == "bad.png" for one in job.inputs):
            raise error
        return explain(model, job, batch_size)

    monkeypatch.setattr(pipeline, "explain_batch", failing)
    run(command, "f", *TINY, code=2)
    out, err = capsys.readouterr()
    assert out.startswith("results/good")
    if isinstance(error, MemoryError):
        assert err == "camlucida: f/bad.png: needs more memory than is available: scale it down\n"
    else:
        assert err.startswith(f"camlucida: f/bad.png: unexpected {type(error).__name__}: ")
        assert "--debug" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("command", ["explain", "compare"])
def test_a_folder_that_fails_does_not_end_a_run_either(
    folder: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    Path("empty").mkdir()
    run(command, "empty", "f", *TINY, code=2)
    out, err = capsys.readouterr()
    assert out.startswith("results/good")
    assert err.startswith("camlucida: folder empty holds no picture")
    run(command, "empty", *TINY, code=2)
    run(command, "empty", "f/gone.png", *TINY, code=2)
    assert capsys.readouterr().err.count("\n") == 3


def test_debug_shows_where_one_picture_failed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    photo().save("f/bad.png")
    monkeypatch.setattr(pipeline, "explain_batch", lambda *_, **__: 1 / 0)
    run("explain", "f", *TINY, "--debug", code=2)
    assert capsys.readouterr().err.count("Traceback") == 2


def test_ctrl_c_still_ends_a_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo().save("f/more.png")

    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "explain_batch", stop)
    run("explain", "f", *TINY, code=130)


def test_what_is_passed_over_is_not_said_when_nothing_is_to_be(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(9):
        Path(f"f/{number}.txt").touch()
    run("explain", "f", *TINY, "--quiet")
    assert capsys.readouterr().err == ""
    run("explain", "f", *TINY)
    assert "4.txt and 4 more" in capsys.readouterr().err


# ----------------------------------------------------------------------------------------------------- names

ODD = [
    "new\nline",
    "\x1b[31mred",
    "r\udcff",
    "[/x][bold]".replace("/", ""),
    "tab\tx",
    "a" * 251,
    "\u202egpj",
    ":cat:",
]


@pytest.mark.parametrize("stem", ODD, ids=ascii)
@pytest.mark.parametrize("command", ["explain", "compare"])
def test_odd_names_are_shown_harmlessly(
    folder: Path, capsys: pytest.CaptureFixture[str], stem: str, command: str
) -> None:
    photo().save(f"f/{stem}.png")
    run(command, f"f/{stem}.png", *TINY, "--save-raw")
    out, err = capsys.readouterr()
    assert out.count("\n") == 1
    assert out.replace("\t", "").removesuffix("\n").isprintable()
    assert len(list(Path("results").glob("*.png"))) == 1
    run(command, f"f/{stem}-not.png", *TINY, code=2)
    out, err = capsys.readouterr()
    assert err.count("\n") == 1
    assert err.removesuffix("\n").isprintable()
    assert out == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["explain", "a" * 10_000],
        ["explain", "f", "--model", "a" * 10_000],
        ["explain", "f", "--method", "a" * 10_000],
        ["explain", "f", "--" + "a" * 10_000],
        ["explain", "f", "--out", "a" * 10_000, *TINY],
        ["a" * 10_000],
    ],
    ids=lambda value: value[1][:8] if len(value) > 1 else "command",
)
def test_a_long_name_is_not_repeated(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    run(*arguments, code=2)
    assert len(capsys.readouterr().err) < 1200


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ü 漢.jpg", "plain ü 漢.jpg"),
        ("a\nb\x1b\x07\x9b", r"a\nb\x1b\x07\x9b"),
        ("r\udcff\ud800", r"r\xff\ud800"),
        ("\u2028\u202e", r"\u2028\u202e"),
        ("👩\u200d🚀", "👩\u200d🚀"),
    ],
)
def test_printable(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_a_long_text_loses_its_middle() -> None:
    assert printable("a" * 300 + "b" * 300, longest=20) == "a" * 10 + "…" + "b" * 10


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_a_name_is_no_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    with talk.waiting("loading [/x][bold]m[/bold]", quiet=False):
        talk.say_note("[/y] :cat:", quiet=False)
        talk.say_error("[/z]")
    shown = sys.stderr.getvalue()  # type: ignore[attr-defined]
    assert all(name in shown for name in ("[/x][bold]m[/bold]", "[/y] :cat:", "[/z]"))


def test_a_result_is_written_in_any_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    talk.say_result({"file": "é.png", "caption": "cat 0.5"})
    assert written.getvalue() == b"\\xe9.png\tcat 0.5\n"


# ----------------------------------------------------------------------------------------------------- streams


def child(*arguments: str, options: tuple[str, ...] = (), **more: Any) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    command = [sys.executable, *options, "-m", "camlucida", *arguments]
    return subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False, **more)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device here")
@pytest.mark.parametrize("arguments", [["methods"], ["explain", "f/good.png", "f/good.png", *TINY]], ids=str)
def test_a_full_standard_output_is_said(folder: Path, arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = child(*arguments, stdout=full)
    assert done.returncode == 2
    assert done.stderr == (
        "camlucida: standard output cannot be written (No space left on device): send it somewhere else\n"
    )


def test_a_closed_standard_output_is_said() -> None:
    done = child("methods", preexec_fn=lambda: os.close(1))
    assert done.returncode == 2
    assert done.stderr.startswith("camlucida: results go to standard output, which is closed")
    assert done.stderr.count("\n") == 1


def test_a_closed_standard_error_is_no_obstacle(folder: Path) -> None:
    command = [sys.executable, "-m", "camlucida", "explain", "f/good.png", "gone.png", *TINY]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=False, preexec_fn=lambda: os.close(2)
    )
    assert (done.returncode, done.stdout.split("\t")[0]) == (2, "results/good.png")


# ------------------------------------------------------------------------------------------------ environments


def test_jupyters_backend_in_the_environment_is_no_obstacle(folder: Path) -> None:
    environment = {**os.environ, "MPLBACKEND": "module://no_such_package.backend_inline"}
    done = child("explain", "f/good.png", *TINY, stdout=subprocess.PIPE, env=environment)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("arguments", [["methods"], ["metrics"], ["explain", "--help"]], ids=" ".join)
def test_without_docstrings_the_command_works(arguments: list[str]) -> None:
    done = child(*arguments, options=("-OO",), stdout=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (0, "")
