"""The same pictures for several models, methods and targets, laid out as a contact sheet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

from torch import nn

from camlucida.errors import OptionError
from camlucida.explainer import Explainer
from camlucida.explanation import Explanation
from camlucida.models.embedded import DEFAULT_MODEL
from camlucida.prepare import listed
from camlucida.settings import Options, Settings
from camlucida.sheet import Sheet
from camlucida.smoothing import Smooth
from camlucida.targets import PerPicture

TUTORIAL_MODELS = (
    "resnet50",
    "vit_base_patch16_224",
    "swin_base_patch4_window7_224",
    "convnext_base",
)


def compare(
    pictures: Any,
    models: Sequence[str | nn.Module] = (DEFAULT_MODEL,),
    methods: Sequence[str] = ("gradcam",),
    targets: Sequence[Any] = (None,),
    options: Options | None = None,
    smooth: Sequence[Smooth] = (),
    **settings: Unpack[Settings],
) -> Sheet:
    """Pictures × targets × methods as rows and models as columns; with one model, methods as columns.

    ``settings`` are those of ``Explainer``. ``models`` are timm names, ``model#layer``, or modules.
    """
    if not models:
        raise OptionError("compare needs at least one model")
    explainers = [Explainer(model, **settings) for model in models]
    return compare_with(explainers, listed(pictures), methods, targets, options, smooth)


def compare_with(
    explainers: Sequence[Explainer],
    pictures: Sequence[Any],
    methods: Sequence[str],
    targets: Sequence[Any],
    options: Options | None = None,
    smooth: Sequence[Smooth] = (),
) -> Sheet:
    """``compare`` with models that are ready already."""
    names = _distinct([explainer.title for explainer in explainers])
    rows: list[list[Explanation]] = []
    labels: list[list[str]] = []
    for i, picture in enumerate(pictures):
        asked = [_of_picture(target, i, len(pictures)) for target in targets]
        by_model = [e.explain(picture, methods, asked, options=options, smooth=smooth) for e in explainers]
        cells = {
            (j, m, t): explanations[m * len(targets) + t]
            for j, explanations in enumerate(by_model)
            for m in range(len(methods))
            for t in range(len(targets))
        }
        for t in range(len(targets)):
            if len(explainers) == 1:
                rows.append([cells[0, m, t] for m in range(len(methods))])
                labels.append([names[0], _target_name(asked[t], rows[-1])])
                continue
            for m, method in enumerate(methods):
                rows.append([cells[j, m, t] for j in range(len(explainers))])
                labels.append([method, _target_name(asked[t], rows[-1])])
    return Sheet(rows, list(methods) if len(explainers) == 1 else names, labels)


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
