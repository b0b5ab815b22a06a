"""The house's import rules (ARCHITECTURE.md), read from the source."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import camlucida

ROOT = Path(camlucida.__file__).parent

# From the bottom up: a room imports itself and those on lower floors, never another on its own.
FLOORS = [
    ["errors", "types"],
    ["files", "tables", "findings", "registry"],
    ["images"],
    ["targets"],
    ["heatmaps"],
    ["capture"],
    ["methods", "layers"],
    ["models"],
    ["pipeline"],
    ["metrics"],
    ["evaluation", "testbed"],
    ["compat", "cli"],
    ["__main__"],
]
HEAVY = (
    *("torch", "timm", "transformers", "torchvision", "numpy", "PIL", "matplotlib", "skimage", "rich.progress"),
)


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else "__init__"


def files() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        return [
            f"{node.module}.{alias.name}" if node.module == "camlucida" else node.module for alias in node.names
        ]
    return []


def own_imports(path: Path) -> set[str]:
    """Everything of ours that the file imports, at its top or inside, for types or for real."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        name
        for node in ast.walk(tree)
        for name in imported(node)
        if name.startswith("camlucida.") and room_of(name) != "__version__"
    }


def floor(room: str) -> int:
    return next(i for i, rooms in enumerate(FLOORS) if room in rooms)


def test_every_room_has_a_floor() -> None:
    rooms = {room_of(module_of(path)) for path in files()} - {"__init__"}
    assert rooms == {room for rooms in FLOORS for room in rooms}


def forbidden(importer: str, name: str) -> bool:
    ours, theirs = room_of(importer), room_of(name)
    if ours == theirs:
        return ours == "methods" and name not in (importer, "camlucida.methods.registry")
    return floor(ours) <= floor(theirs)


def test_lower_rooms_never_import_higher_ones() -> None:
    wrong = [
        f"{module_of(path)} imports {name}"
        for path in files()
        if module_of(path) != "camlucida"
        for name in own_imports(path)
        if forbidden(module_of(path), name)
    ]
    assert not wrong


def test_the_rule_can_be_broken() -> None:
    assert forbidden("camlucida.heatmaps.combine", "camlucida.pipeline.explainer")
    assert forbidden("camlucida.methods.eigen", "camlucida.methods.weighted")
    assert not forbidden("camlucida.pipeline.explainer", "camlucida.heatmaps.combine")


def test_the_module_graph_has_no_cycle() -> None:
    modules = {module_of(path) for path in files()}
    graph = {module_of(path): own_imports(path) & modules - {module_of(path)} for path in files()}
    del graph["camlucida"]
    while graph:
        free = [module for module, needs in graph.items() if not needs & graph.keys()]
        assert free, f"these import each other: {sorted(graph)}"
        for module in free:
            del graph[module]


def test_methods_touch_torch_alone() -> None:
    for path in set((ROOT / "methods").glob("*.py")) - {ROOT / "methods" / "registry.py"}:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {name.split(".")[0] for node in ast.walk(tree) for name in imported(node)}
        assert names <= {"__future__", "collections", "typing", "torch", "camlucida"}, path


def heavy_after(code: str) -> list[str]:
    """What of the heavy libraries a fresh interpreter has loaded after ``code``."""
    probe = f"import sys\n{code}\nsys.stderr.write(' '.join(m for m in {HEAVY!r} if m in sys.modules))"
    run = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    return run.stderr.split()


@pytest.mark.parametrize(
    "code",
    [
        "import camlucida",
        "import camlucida; dir(camlucida)",
        "import camlucida.methods.registry as r; assert 'gradcam' in r.all_methods()",
        "from camlucida.cli import app; app(['--help'], result_action='return_value')",
        "from camlucida.cli import app; app(['explain', '--help'], result_action='return_value')",
        "from camlucida.cli import app; app(['methods'], result_action='return_value')",
    ],
)
def test_nothing_heavy_is_loaded(code: str) -> None:
    assert heavy_after(code) == []


def test_the_probe_sees_heavy_imports() -> None:
    assert "numpy" in heavy_after("import numpy")


def test_public_names_all_exist() -> None:
    for name in camlucida.__all__:
        assert getattr(camlucida, name) is not None
    assert callable(camlucida.explain)
    assert callable(camlucida.compare)
    with pytest.raises(AttributeError, match="no attribute 'nonesuch'"):
        _ = camlucida.nonesuch
