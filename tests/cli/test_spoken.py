"""Messages speak to whoever reads them: of flags on the command line, of arguments in Python."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

import camlucida
from camlucida.errors import on_command_line, setting, spoken
from command import run

ROOT = Path(camlucida.__file__).parent
FLAG = re.compile(r"(?<![\w-])--[a-z]")  # of the command line alone
ARGUMENT = re.compile(  # of Python alone
    r"Explainer\b|in Python\b|deepcopy|(?<![.\w])(preprocess|weights|labels|layers?|methods?|targets?|options?|"
    r"copy|args|kwargs|overwrite|activation|dtype|device|masks|metrics|smooth|logits_of|batch_size|model)=[^={]"
)
MAKERS = ("spoken", "setting")
# What is said of arguments that the command has not, and papers.
OF_PYTHON = {
    *("__init__.py", "capture/shared_copy.py", "methods/weighted.py", "metrics/own_maps.py"),
    *(f"pipeline/{name}.py" for name in ("api", "arguments", "settings", "explainer")),
}


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """The literals that a user may read, each with its line: no docstrings, nor pieces for one reader."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    left_out: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            left_out.add(id(node.value))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in MAKERS:
            left_out |= {id(part) for part in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) not in left_out and isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def where(pattern: re.Pattern[str], paths: list[Path]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{line}: {text}"
        for path in paths
        for line, text in texts(path)
        if pattern.search(text)
    ]


def files(command: bool) -> list[Path]:
    room = ROOT / "cli"
    return [path for path in sorted(ROOT.rglob("*.py")) if (room in path.parents) == command]


def test_no_message_outside_the_command_speaks_of_flags_alone() -> None:
    assert where(FLAG, files(command=False)) == []


def test_no_message_speaks_of_arguments_alone() -> None:
    both = [
        path
        for path in files(command=False)
        if "compat" not in path.parts and path.relative_to(ROOT).as_posix() not in OF_PYTHON
    ]
    assert where(ARGUMENT, both) == []
    assert where(ARGUMENT, files(command=True)) == []


def test_no_piece_is_left_unfilled() -> None:
    """A text that was meant to be filled in and is none of an f-string."""
    unfilled = re.compile(r"\{\w+\(")
    assert where(unfilled, sorted(ROOT.rglob("*.py"))) == []


def test_the_search_finds_what_it_looks_for(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text(
        '''"""--doc"""\nraise E(f"{1} give `--layer`", spoken("--a", "copy=True"))\n'''
    )
    found = [text for _, text in texts(tmp_path / "x.py")]
    assert [text for text in found if FLAG.search(text)] == [" give `--layer`"]
    assert ARGUMENT.search("pass Explainer(copy=True)")
    assert not [text for text in found if ARGUMENT.search(text)]


def test_a_setting_is_told_in_the_words_of_whoever_reads_it() -> None:
    python = [
        setting("weights", "random"),
        setting("weights", "PATH"),
        setting("layers", "a+b"),
        setting("size"),
    ]
    assert python == ['weights="random"', "weights=PATH", 'layers="a+b"', "size=…"]
    with on_command_line():
        command = [setting("weights", "random"), setting("layers", "a+b"), setting("batch_size")]
        assert command == ["`--weights random`", "`--layer a+b`", "`--batch-size`"]
    assert spoken("command", "python") == "python"


WRONG = {  # what is refused on both ways, and what each is told to do
    "no preprocessing": ("`--size`, `--mean` and `--std`", "preprocess={"),
    "weights": ("resnet50@last.pt", "resnet50@last.pt"),
    "random": ("`--weights random`", 'weights="random"'),
}


def test_refusals_reach_each_reader(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "net.py").write_text(
        "from torch import nn\nmodel = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1),"
        " nn.Flatten(), nn.Linear(4, 2))\n"
    )
    photo = tmp_path / "photo.png"
    Image.new("RGB", (40, 40)).save(photo)
    own = f"{tmp_path / 'net.py'}:model"
    asked = {"no preprocessing": (own, None), "weights": ("last.pt", None), "random": (own, "random")}
    for name, (model, weights) in asked.items():
        of_command, of_python = WRONG[name]
        run("explain", photo, "--model", model, *(["--weights", weights] if weights else []), code=2)
        told = capsys.readouterr().err
        assert of_command in told
        assert not ARGUMENT.search(told)
        with pytest.raises(camlucida.CamlucidaError) as refused:
            camlucida.explain(photo, model, weights=weights or "pretrained")
        assert of_python in str(refused.value)
        assert not FLAG.search(str(refused.value))
