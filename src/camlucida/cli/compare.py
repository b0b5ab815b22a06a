"""``camlucida compare``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from camlucida.cli.model_options import ModelOptions
from camlucida.cli.options import Question, Result, several, slug
from camlucida.cli.outputs import Outputs, inputs_of
from camlucida.cli.run import Fields, each_picture, name_of_target, picture_at, pictures_in, stems_of
from camlucida.cli.talk import say_note, waiting
from camlucida.errors import OptionError

if TYPE_CHECKING:
    from camlucida.pipeline.comparison import SheetOutcome
    from camlucida.pipeline.sheet import Sheet


def compare(
    pictures: list[Path],
    /,
    *,
    model: Annotated[tuple[str, ...], several("MODEL")] = (),
    tutorial: Annotated[bool, Parameter(negative="")] = False,
    question: Question = Question(),
    options: ModelOptions = ModelOptions(),
    result: Result = Result(),
) -> None:
    """Compare models, methods and classes side by side, one contact sheet per picture.

    Prints the file name of each sheet, `<picture>-compare.png`.

    Parameters
    ----------
    pictures
        Picture files, or folders of them; - reads one from standard input.
    model
        A timm name, torchvision:NAME, hf:NAME_OR_FOLDER or file.py:factory; `name@checkpoint` names weights.
        Repeat for several.
    tutorial
        Use the tutorial's four models: ResNet-50, ViT-B/16, Swin-B and ConvNeXt-B.
    """
    from camlucida.models.bundled import DEFAULT_MODEL

    paths, failed = pictures_in(pictures, result.quiet)
    names = [*_tutorial_models(tutorial), *model] or [DEFAULT_MODEL]
    draw_sheets(names, paths, question, options, result)
    if failed:
        raise SystemExit(2)


def draw_sheets(
    models: list[str], paths: list[Path], question: Question, options: ModelOptions, result: Result
) -> None:
    """A sheet for each picture."""
    from camlucida.pipeline.comparison import CompareRequest, sheets

    if len(question.layer) > 1:
        raise OptionError("compare takes one --layer for all models: give a model another one as model#layer")
    layer = question.layer[0] if question.layer else None
    asked = CompareRequest(question.method, question.targets, layer, question.options(), question.smooth)
    result.check(len(paths))
    outputs = Outputs(result, inputs_of(paths, models, options))
    outputs.check(f"{stem}-compare" for stem in stems_of(paths))
    explainers = []
    for name in models:
        with waiting(f"loading {name}", result.quiet):
            explainers.append(options.explainer(name))

    def write(outcome: SheetOutcome, _path: Path, stem: str) -> Iterator[Fields]:
        if outcome.sheet is not None:
            yield from _written(outcome.sheet, f"{stem}-compare", outputs)

    with ExitStack() as sessions:
        for explainer in explainers:
            sessions.enter_context(explainer.session())
        outcomes = sheets(explainers, [picture_at(path) for path in paths], asked)
        each_picture(paths, outcomes, write, "comparing", result)


def _tutorial_models(tutorial: bool) -> tuple[str, ...]:
    from camlucida.pipeline.comparison import TUTORIAL_MODELS

    return TUTORIAL_MODELS if tutorial else ()


def _written(sheet: Sheet, stem: str, outputs: Outputs) -> Iterator[Fields]:
    from camlucida.pipeline.file_marks import mark_of, mark_of_all

    result = outputs.result
    drawing: dict[str, Any] = {
        "alpha": result.alpha,
        "colormap": result.colormap,
        "scale": result.scale,
        "show": result.show,
    }
    mark = mark_of_all([mark_of(one.manifest()) for one in sheet.explanations])
    path = sheet.save(outputs.path(stem, mark), **outputs.writing, **drawing)
    yield {"file": str(path)}
    for explanation in sheet.explanations:
        where = f"{explanation.model}#{explanation.layer} {explanation.method} {name_of_target(explanation)}"
        if result.save_raw:
            explanation.save(outputs.raw(path, slug(where)), **outputs.writing)
        for finding in explanation.health:
            say_note(f"{where}: {finding} ({finding.code})", result.quiet)
