"""The same pictures for several models, methods and targets, laid out as a contact sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    return compare_with(explainers, as_list(pictures), asked, list(named or ()))


@dataclass(frozen=True)
class CompareRequest:
    """What is asked of each model and picture."""

    methods: Sequence[str]
    targets: Sequence[Any] = (None,)
    layer: Any = None
    options: Options | None = None
    smooth: Sequence[Smooth] = ()


def compare_with(
    explainers: Sequence[Explainer], pictures: Sequence[Any], asked: CompareRequest, names: Sequence[str] = ()
) -> Sheet:
    """``compare`` with models that are ready already; ``names`` stand for their own."""
    names = names or _distinct([explainer.title for explainer in explainers])
    methods = [get_method(method).name for method in asked.methods]
    rows: list[list[Explanation]] = []
    labels: list[list[str]] = []
    for i, picture in enumerate(pictures):
        targets = [_of_picture(target, i, len(pictures)) for target in asked.targets]
        by_model = [
            e.explain(picture, methods, targets, [e.layer or asked.layer], asked.options, asked.smooth)
            for e in explainers
        ]
        if _in_one_row(explainers, methods, targets):
            rows.append(by_model[0])
            labels.append([names[0], methods[0]])
            continue
        for t, target in enumerate(targets):
            cells = [[made[m * len(targets) + t] for made in by_model] for m in range(len(methods))]
            if len(explainers) == 1:
                rows.append([cell for (cell,) in cells])
                labels.append([names[0], _target_name(target, rows[-1])])
                continue
            rows += cells
            labels += [[method, _target_name(target, row)] for method, row in zip(methods, cells, strict=True)]
    columns = methods if len(explainers) == 1 else list(names)
    if _in_one_row(explainers, methods, asked.targets):
        columns = [f"top {target.rank}" for target in asked.targets]
    return Sheet(rows, columns, labels)


def _in_one_row(explainers: Sequence[Explainer], methods: Sequence[str], targets: Sequence[Any]) -> bool:
    """Whether one model and one method are asked for several top classes."""
    of_one = len(explainers) == len(methods) == 1 and len(targets) > 1
    return of_one and all(isinstance(target, TopClass) for target in targets)


def _of_picture(target: Any, place: int, count: int) -> Any:
    """What is explained of the picture at ``place``, of ``count`` pictures."""
    if not isinstance(target, PerPicture):
        return target
    return target.of(count)[place]


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
