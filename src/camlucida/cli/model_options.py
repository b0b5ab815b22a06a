"""Options that say which model is loaded, and how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from warnings import catch_warnings, simplefilter

from cyclopts import Group, Parameter

from camlucida.cli.talk import say_note
from camlucida.errors import CamlucidaWarning, OptionError
from camlucida.models.preprocessing_recipe import Interpolation

if TYPE_CHECKING:
    from camlucida.pipeline.explainer import Explainer

_GROUP = Group("Model", sort_key=2)


@Parameter(name="*", group=_GROUP)
@dataclass(frozen=True)
class ModelOptions:
    """How a model is loaded."""

    weights: str = "pretrained"
    """'pretrained', 'random' (seeded, and stamped on the picture), or a file: safetensors or a checkpoint."""

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Device of the model; auto picks the fastest available."""

    dtype: Literal["float16", "bfloat16", "float32", "float64"] | None = None
    """Number format of the model (default: the checkpoint's own)."""

    preprocess: Literal["model", "tutorial"] = "model"
    """'model' is the checkpoint's own; 'tutorial' squashes to 224×224 with mean and deviation 0.5."""

    size: Annotated[str | None, Parameter(metavar="PIXELS")] = None
    """Input size in pixels: one side, or height and width."""

    crop: Annotated[str | None, Parameter(metavar="SHARE")] = None
    """Centre crop as a share of the resized picture's shorter side, such as 0.875, or 'squash' to resize the
    whole picture without keeping its proportions."""

    interpolation: Interpolation | None = None
    """How the picture is resized."""

    mean: Annotated[str | None, Parameter(metavar="NUMBERS")] = None
    """Mean to subtract from values in 0…1: one number, or one per channel."""

    std: Annotated[str | None, Parameter(metavar="NUMBERS")] = None
    """Standard deviation to divide by."""

    batch_size: int = 8
    """How many inputs go through the model at once."""

    labels: Path | None = None
    """Class names: a text file with one name per line, or JSON."""

    activation: Literal["auto", "softmax", "sigmoid", "none"] = "auto"
    """How outputs become probabilities; auto detects outputs that are probabilities already. With none, or
    where auto cannot tell, raw scores are shown and measured."""

    verbose: Annotated[bool, Parameter(negative="")] = False
    """Print the preprocessing and where it comes from."""

    no_cache: Annotated[bool, Parameter(negative="")] = False
    """Do not read or write the cache of the model's layers."""

    def given(self) -> list[str]:
        """Those that say which model it is and how pictures are made ready, as they are written."""
        numbers = ("size", "crop", "interpolation", "mean", "std")
        names = ("weights", "preprocess", *numbers, "labels", "activation")
        values = {
            name: getattr(self, name) for name in names if getattr(self, name) != getattr(type(self), name)
        }
        return [part for name, value in values.items() for part in (f"--{name}", str(value))]

    def explainer(self, model: str) -> Explainer:
        """The model, ready; what loading it warns of is a note."""
        with catch_warnings(record=True) as warned:
            simplefilter("always", CamlucidaWarning)
            explainer = self._loaded(model)
        for one in warned:
            if issubclass(one.category, CamlucidaWarning):
                say_note(str(one.message), quiet=False)
        if self.verbose:
            say_note(f"pictures for {model}: {explainer.preprocess.recipe}", quiet=False)
        return explainer

    def _loaded(self, model: str) -> Explainer:
        from camlucida.pipeline.explainer import Explainer

        return Explainer(
            model,
            weights=self.weights,
            device=self.device,
            dtype=self.dtype,
            preprocess=self._preprocess(),
            batch_size=self.batch_size,
            labels=self.labels,
            activation=self.activation,
            cache=not self.no_cache,
        )

    def _preprocess(self) -> Any:
        """What the options say of it.

        Raises:
            OptionError: a number is none, or the tutorial's is to be changed.
        """
        numbers: dict[str, Any] = {
            "size": _numbers(self.size, int, "size"),
            "crop": self.crop
            if self.crop == "squash"
            else next(iter(_numbers(self.crop, float, "crop")), None),
            "interpolation": self.interpolation,
            "mean": _numbers(self.mean, float, "mean"),
            "std": _numbers(self.std, float, "std"),
        }
        given = {name: value for name, value in numbers.items() if value not in (None, [])}
        if given and self.preprocess != "model":
            raise OptionError(
                f"`--{next(iter(given))}` changes the model's own preprocessing, and `--preprocess "
                f"{self.preprocess}` is another: omit one of them"
            )
        return given or self.preprocess


NUMBERS = ("--size", "--mean", "--std")


def joined(tokens: Sequence[str]) -> list[str]:
    """A command line on which numbers that follow one of NUMBERS are one text, with commas between.

    So an option of several numbers takes no picture that is named behind it.
    """
    found: list[str] = []
    numbers = -1  # so many of them stand behind the option; -1 where there is none
    for token in tokens:
        if numbers >= 0 and _is_number(token):
            if numbers:
                found[-1] += f",{token}"
            else:
                found.append(token)
            numbers += 1
        else:
            numbers = 0 if token in NUMBERS else -1
            found.append(token)
    return found


def _is_number(text: str) -> bool:
    try:
        return bool(text) and isinstance(float(text), float)
    except ValueError:
        return False


def _numbers(text: str | None, kind: type[int] | type[float], name: str) -> list[int | float]:
    """Numbers with commas between, or as in 224x224."""
    parts = [] if text is None else text.replace("x", ",").replace(" ", ",").split(",")
    try:
        return [kind(part) for part in parts if part]
    except ValueError:
        whole = "whole numbers" if kind is int else "numbers"
        raise OptionError(f"`--{name}` takes {whole}, got {text!r}: separate them by spaces") from None
