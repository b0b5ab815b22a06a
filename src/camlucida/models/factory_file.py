"""A model of the user's own: ``file.py:factory``."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from camlucida.errors import ModelError, setting, unknown_name
from camlucida.files import is_file
from camlucida.models.weights import fill, first_line, load_tensors

if TYPE_CHECKING:
    from torch import nn

_RETURNS = "an nn.Module, (module, preprocess) or (module, preprocess, labels)"


@dataclass(frozen=True)
class Made:
    """The result of a factory; ``preprocess`` and ``labels`` are None if it returns none."""

    module: nn.Module
    preprocess: Any = None
    labels: Any = None


def is_own(name: str) -> bool:
    """Whether ``name`` has the form ``file.py:factory``, or forgets the factory."""
    return name.endswith(".py") or name.rpartition(":")[0].endswith(".py")


def load(name: str, weights: str) -> Made:
    """What the factory in ``file.py:factory`` returns, called without arguments.

    ``weights`` is "pretrained", which leaves them as the factory made them, or a file.

    Raises:
        ModelError: there is no such file or factory, either raises, or what it returns is no model.
    """
    path, _, factory = name.rpartition(":")
    if not path.endswith(".py"):
        raise ModelError(
            f"{name} is a file: say which function in it makes the model, {name}:FUNCTION, which returns "
            f"{_RETURNS}; or the name of a module that it holds"
        )
    if weights == "random":
        raise ModelError(f"the factory of {name} sets its weights: omit {setting('weights', 'random')}")
    file = Path(path).expanduser()
    if not is_file(file):
        raise ModelError(f"no file at {file}, give file.py:factory")
    # What the user's code prints is no result of ours.
    with _importable(file.resolve().parent), redirect_stdout(sys.stderr):
        make = _factory(_executed(file.resolve()), factory, file)
        with _blamed(f"{factory}() of {file}"):
            returned = make()
    made = _made(returned, name)
    if weights != "pretrained":
        fill(made.module, load_tensors(Path(weights)), Path(weights), name)
    return made


def _executed(file: Path) -> ModuleType:
    """The file as a module, under a name that no other file has, in ``sys.modules`` as dataclasses need it."""
    name = f"camlucida_own_{sha256(str(file).encode()).hexdigest()[:12]}_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ModelError(f"{file} cannot be imported, give a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    with _blamed(str(file)):
        spec.loader.exec_module(module)
    return module


def _factory(module: ModuleType, name: str, file: Path) -> Callable[[], Any]:
    here = [key for key, value in vars(module).items() if callable(value) and not key.startswith("__")]
    if not hasattr(module, name):
        raise ModelError(
            unknown_name(f"function in {file},", name, here, f"it has {', '.join(here) or 'none'}")
        )
    factory: Any = getattr(module, name)
    if _is_module(factory):
        return lambda: factory  # a model that the file has made already
    if not callable(factory):
        raise ModelError(
            f"{name} in {file} is {type(factory).__name__}, and a factory is a function that returns {_RETURNS}"
        )
    make: Callable[[], Any] = factory
    return make


def _made(returned: Any, name: str) -> Made:
    parts = returned if isinstance(returned, tuple) else (returned,)
    if not 1 <= len(parts) <= 3 or not _is_module(parts[0]):
        came = ", ".join(type(part).__name__ for part in parts)
        came = f"({came})" if isinstance(returned, tuple) else came
        raise ModelError(f"a factory returns {_RETURNS}, and {name} returned {came}")
    return Made(*parts)


def _is_module(value: Any) -> bool:
    from torch import nn

    return isinstance(value, nn.Module)


@contextmanager
def _blamed(what: str) -> Iterator[None]:
    """Raise whatever the user's code raises as a ModelError with its kind and message."""
    try:
        yield
    except (Exception, SystemExit) as error:
        message = f": {first_line(error)}" if str(error).strip() else ""
        raise ModelError(
            f"{what} raised {type(error).__name__}{message}, run it by itself to see where"
        ) from error


_neighbours: set[str] = set()  # names in sys.modules of files that lie beside those loaded before


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """While entered, files in ``folder`` can be imported, before others of the same name.

    Neighbours of a file that was loaded before are imported anew: another folder may have some of the same
    name, and the user may have changed them.
    """
    for name in _neighbours:
        sys.modules.pop(name, None)
    _neighbours.clear()
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        _neighbours.update(name for name in set(sys.modules) - before if _lies_in(folder, sys.modules[name]))


def _lies_in(folder: Path, module: ModuleType) -> bool:
    file = getattr(module, "__file__", None)
    return bool(file) and Path(str(file)).is_relative_to(folder)
