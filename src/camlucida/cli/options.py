"""Options that commands share, and what they mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter

from camlucida.errors import OptionError
from camlucida.files import is_folder

if TYPE_CHECKING:
    from camlucida.heatmaps.smoothing import Smooth
    from camlucida.methods.registry import Method
    from camlucida.metrics.registry import Metric


def several(metavar: str) -> Parameter:
    """An option that can be given again and again, each time with one value of this name."""
    return Parameter(negative="", consume_multiple=False, show_default=False, metavar=metavar)


METHOD = Parameter(
    name=["--method", "-m"], negative="", consume_multiple=False, show_default=False, metavar="METHOD"
)
_OUT = Parameter(name=["--out", "-o"], group=Group("Output", sort_key=4), negative="")
_DRAWN = (".png", ".jpg", ".jpeg", ".webp")
_DRAWING = Group("Drawing", sort_key=3)
_OUTPUT = Parameter(group=Group("Output", sort_key=4), negative="")


@Parameter(name="*")
@dataclass(frozen=True)
class Question:
    """What is asked of a model."""

    method: Annotated[tuple[str, ...], METHOD] = ("gradcam",)
    """A method from `camlucida methods` (default: gradcam). Repeat for several."""

    target: Annotated[tuple[str, ...], several("CLASS")] = ()
    """Class index, name or part of a name (default: the top class). "A - B" explains A against B. Write
    index:10 or name:10 where a name is made of digits. Repeat for several."""

    top: int = 0
    """Explain the N classes with the highest scores: one picture each, or one sheet with `compare`."""

    contrast: Annotated[tuple[tuple[str, str], ...], several("CLASS CLASS")] = ()
    """Two classes: explain A against B. Repeat for several."""

    layer: Annotated[tuple[str, ...], several("LAYER")] = ()
    """A layer from `camlucida layers MODEL` (default: the model's own, or `model#layer`). Repeat for several;
    `a+b` fuses two."""

    option: Annotated[tuple[str, ...], several("NAME.OPTION=VALUE")] = ()
    """An option of a method, such as `random.seed=3`. Repeat for several."""

    aug_smooth: Annotated[bool, Parameter(negative="")] = False
    """Average over six views of the picture, mirrored and scaled."""

    eigen_smooth: Annotated[bool, Parameter(negative="")] = False
    """Take the first principal component of the channels' contributions instead of their sum."""

    @property
    def smooth(self) -> list[Smooth]:
        """The smoothings asked for."""
        asked: dict[Smooth, bool] = {"aug": self.aug_smooth, "eigen": self.eigen_smooth}
        return [name for name, wanted in asked.items() if wanted]

    @property
    def targets(self) -> Sequence[Any]:
        """The targets, None standing for the top class."""
        from camlucida.targets.base import Contrast, TopClass

        if self.top < 0:
            raise OptionError(f"--top is a number of classes, 1 or more, got {self.top}")
        top = [TopClass(rank) for rank in range(1, self.top + 1)]
        return (*top, *self.target, *(Contrast(*two) for two in self.contrast)) or (None,)

    def options(self) -> dict[str, dict[str, Any]]:
        """The options by method and name.

        Raises:
            OptionError: a method is not known, or an option has another form or is not one of its method's.
        """
        from camlucida.methods.registry import get_method

        return parsed_options(self.option, {one.name: one for one in map(get_method, self.method)})


def parsed_options(texts: Sequence[str], owners: Mapping[str, Method | Metric]) -> dict[str, dict[str, Any]]:
    """The options ``owner.option=value`` by owner and name; owners are the methods and metrics asked for.

    Raises:
        OptionError: one has another form, or is not one of its owner's, or its owner is not used here.
    """
    from camlucida.registry import folded

    parsed: dict[str, dict[str, Any]] = {name: {} for name in owners}
    for text in texts:
        name, equals, value = text.partition("=")
        owner, dot, option = name.partition(".")
        if not (equals and dot):
            raise OptionError(f"an option is name.option=value, such as random.seed=3, got {text!r}")
        owner = next((known for known in owners if folded(known) == folded(owner)), owner)
        if owner not in owners:
            raise OptionError(
                f"option {text!r} is for {owner}, which is not used here: add it, or omit the option"
            )
        parsed[owner][option] = owners[owner].option(option).parse(value)
    return parsed


@Parameter(name="*", group=_DRAWING)
@dataclass(frozen=True)
class Result:
    """How maps are drawn, and where they go."""

    alpha: float = 0.5
    """Weight of the colours over the picture, 0 to 1."""

    colormap: str = "turbo"
    """Any matplotlib colormap; a diverging one (RdBu_r, coolwarm) also shows evidence against the class."""

    scale: Literal["raw", "picture", "panel"] = "picture"
    """Value of full colour: 1 (raw), the map's maximum (picture), or the maximum of all maps drawn (panel)."""

    show: Literal["map", "spread"] = "map"
    """Draw the map, or its spread over the views of --aug-smooth."""

    out: Annotated[Path, _OUT] = Path("results")
    """A folder, or, for a single result, a file name that ends in .png, .jpg or .webp."""

    format: Annotated[Literal["png", "jpg", "webp"], _OUTPUT] = "png"
    """Format of pictures written to a folder."""

    save_raw: Annotated[bool, _OUTPUT] = False
    """Also write the raw map, the picture and the provenance (.npz), and the provenance as .json."""

    overwrite: Annotated[bool, _OUTPUT] = False
    """Also replace files that camlucida did not write. Inputs are never replaced."""

    json: Annotated[bool, _OUTPUT] = False
    """Print each result as a line of JSON instead."""

    quiet: Annotated[bool, _OUTPUT] = False
    """Print only errors on stderr."""

    def check(self, count: int) -> None:
        """Refuse, before anything is computed, what cannot be drawn, or one file for ``count`` results."""
        from camlucida.images.colour import check_colormap
        from camlucida.images.overlay import check_alpha

        check_alpha(self.alpha)
        check_colormap(self.colormap)
        if not self.is_file():
            check_folder(self.out, f"pictures are written as {', '.join(_DRAWN)}")
        if count > 1 and self.is_file():
            raise OptionError(f"--out {self.out} is one file but there are {count} results, give a folder")

    def path(self, stem: str) -> Path:
        """Where the picture called ``stem`` goes."""
        return self.out if self.is_file() else self.out / f"{stem}.{self.format}"

    def is_file(self) -> bool:
        """Whether `--out` names the one file."""
        return self.out.suffix.lower() in _DRAWN and not is_folder(self.out)


def check_folder(out: Path, otherwise: str) -> None:
    """Refuse, for a folder, a name that ends as files of some kind do, unless there is such a folder.

    Raises:
        OptionError: it does.
    """
    from mimetypes import guess_type

    if guess_type(out.name) != (None, None) and not is_folder(out):
        raise OptionError(f"--out {out} is the name of a file, and {otherwise}: give such a name, or a folder")


def slug(text: str) -> str:
    """A piece of a file name."""
    kept = "".join(letter if letter.isalnum() or letter in "._+" else "-" for letter in text)
    return kept.strip("-") or "x"
