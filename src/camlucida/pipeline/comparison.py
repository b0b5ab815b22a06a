"""The same pictures for several models, methods and targets, laid out as a contact sheet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Unpack, cast

from torch import nn

from camlucida.errors import OptionError
from camlucida.heatmaps.smoothing import Smooth
from camlucida.methods.registry import get_method
from camlucida.models.bundled import DEFAULT_MODEL
from camlucida.models.inputs import as_list
from camlucida.pipeline.arguments import several, targets_of
from camlucida.pipeline.explainer import Explainer
from camlucida.pipeline.explanation import Explanation
from camlucida.pipeline.settings import CompareSettings, Options, Settings
from camlucida.pipeline.sheet import Sheet
from camlucida.pipeline.stream import Outcome
from camlucida.targets.base import PerPicture, TopClass

TUTORIAL_MODELS = (
    "resnet50",
    "vit_base_patch16_224",
    "swin_base_patch4_window7_224",
    "convnext_base",
)


Model = str | nn.Module | Explainer


def compare(
    pictures: Any,
    models: Model | Sequence[Model] | Mapping[str, Model] = (DEFAULT_MODEL,),
    methods: str | Sequence[str] = ("gradcam",),
    targets: Any = (None,),
    options: Options | None = None,
    smooth: Smooth | Sequence[Smooth] = (),
    **settings: Unpack[CompareSettings],
) -> Sheet:
    """Pictures × targets × methods as rows and models as columns; with one model, methods as columns.

    ``models`` are timm names, ``model#layer``, modules or Explainers, one or several of them, or a dict of the
    names by which they stand on the sheet. ``settings`` are those of ``Explainer``, for those that are not
    Explainers yet, and ``layer``, for those that name none themselves.
    """
    named = models if isinstance(models, Mapping) else None
    chosen: list[Model] = list(named.values()) if named is not None else several(models)
    if not chosen:
        raise OptionError("compare needs at least one model")
    layer, own = settings.pop("layer", None), cast("Settings", settings)
    explainers = [one if isinstance(one, Explainer) else Explainer(one, **own) for one in chosen]
    asked = CompareRequest(several(methods), targets_of(targets), layer, options, several(smooth))
    titles = list(named or _distinct([explainer.title for explainer in explainers]))
    found = list(sheets(explainers, as_list(pictures), asked, titles))
    if not found:
        raise OptionError("compare needs at least one picture, got none")
    for one in found:
        if one.error is not None:
            raise one.error
    whole = [one.sheet for one in found if one.sheet is not None]
    return Sheet(
        [row for sheet in whole for row in sheet.rows],
        whole[0].columns,
        [label for sheet in whole for label in sheet.labels],
    )


@dataclass(frozen=True)
class CompareRequest:
    """What is asked of each model and picture."""

    methods: Sequence[str]
    targets: Sequence[Any] = (None,)
    layer: Any = None
    options: Options | None = None
    smooth: Sequence[Smooth] = ()


@dataclass(frozen=True)
class SheetOutcome:
    """The sheet of the picture with a ``number``, or the error that one of the models ended in."""

    number: int
    sheet: Sheet | None = None
    error: Exception | None = None


def sheets(
    explainers: Sequence[Explainer], pictures: Sequence[Any], asked: CompareRequest, names: Sequence[str] = ()
) -> Iterator[SheetOutcome]:
    """A sheet for each picture, by models that are ready, which ``names`` stand for; batch by batch."""
    names = names or _distinct([explainer.title for explainer in explainers])
    methods = [get_method(method).name for method in asked.methods]
    streams = [
        one.outcomes(pictures, methods, asked.targets, [one.layer or asked.layer], asked.options, asked.smooth)
        for one in explainers
    ]
    for number, found in _by_picture(streams):
        error = next((one.error for one in found if one.error), None)
        targets = [_of_picture(target, number, len(pictures)) for target in asked.targets]
        by_model = [one.explanations for one in found]
        sheet = None if error else _sheet(by_model, methods, targets, names)
        yield SheetOutcome(number, sheet, error)


def _by_picture(streams: Sequence[Iterator[Outcome]]) -> Iterator[tuple[int, list[Outcome]]]:
    """The outcomes of each picture, one a stream, as soon as all streams have given theirs."""
    waiting: dict[int, dict[int, Outcome]] = {}
    for row in zip(*streams, strict=True):
        for which, outcome in enumerate(row):
            waiting.setdefault(outcome.number, {})[which] = outcome
        for number in [number for number, found in waiting.items() if len(found) == len(streams)]:
            found = waiting.pop(number)
            yield number, [found[which] for which in range(len(streams))]


def _sheet(
    by_model: Sequence[Sequence[Explanation]],
    methods: Sequence[str],
    targets: Sequence[Any],
    names: Sequence[str],
) -> Sheet:
    """One picture's rows: models as columns, or methods for one model, or its top classes for one method."""
    if _in_one_row(len(by_model), methods, targets):
        return Sheet(
            [list(by_model[0])], [f"top {target.rank}" for target in targets], [[names[0], methods[0]]]
        )
    rows: list[list[Explanation]] = []
    labels: list[list[str]] = []
    for t, target in enumerate(targets):
        cells = [[made[m * len(targets) + t] for made in by_model] for m in range(len(methods))]
        if len(by_model) == 1:
            rows.append([cell for (cell,) in cells])
            labels.append([names[0], _target_name(target, rows[-1])])
            continue
        rows += cells
        labels += [[method, _target_name(target, row)] for method, row in zip(methods, cells, strict=True)]
    return Sheet(rows, list(methods if len(by_model) == 1 else names), labels)


def _in_one_row(models: int, methods: Sequence[str], targets: Sequence[Any]) -> bool:
    """Whether one model and one method are asked for several top classes."""
    of_one = models == len(methods) == 1 and len(targets) > 1
    return of_one and all(isinstance(target, TopClass) for target in targets)


def _of_picture(target: Any, number: int, count: int) -> Any:
    """The target of the picture with this number, of ``count`` pictures."""
    if not isinstance(target, PerPicture):
        return target
    return target.of(count)[number]


def _target_name(target: Any, row: list[Explanation]) -> str:
    if target is None:
        return "top class"
    names = {explanation.named for explanation in row}
    return names.pop() if len(names) == 1 else target if isinstance(target, str) else type(target).__name__


def _distinct(names: list[str]) -> list[str]:
    """Equal names numbered, so that columns can be told apart."""
    return [
        f"{name} ({names[:i].count(name) + 1})" if names.count(name) > 1 else name
        for i, name in enumerate(names)
    ]
