"""``camlucida explain``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from camlucida.cli.model_options import ModelOptions
from camlucida.cli.options import Question, Result, slug
from camlucida.cli.outputs import Outputs, inputs_of, numbered
from camlucida.cli.run import Fields, each_picture, fields_of, name_of_target, picture_at, pictures_in, stems_of
from camlucida.cli.talk import say_note, waiting

if TYPE_CHECKING:
    from camlucida.pipeline.explanation import Explanation
    from camlucida.pipeline.stream import Outcome


def explain(
    pictures: list[Path],
    /,
    *,
    model: str = "efficientnet_lite0",
    question: Question = Question(),
    options: ModelOptions = ModelOptions(),
    result: Result = Result(),
) -> None:
    """Draw where a model looked, over each picture, at the picture's own size.

    Prints one line per result, separated by tabs: file, class and probability, method, model and layer.

    Parameters
    ----------
    pictures
        Picture files, or folders of them; - reads one from standard input.
    model
        A timm name, torchvision:NAME, hf:NAME_OR_FOLDER or file.py:factory (a function that returns a module,
        (module, preprocess) or (module, preprocess, labels)). `name#layer` picks a layer, `name@checkpoint` a
        weights file.
    """
    settings, layers = question.options(), question.layer or (None,)
    paths, failed = pictures_in(pictures, result.quiet)
    each = len(question.method) * len(question.targets) * len(layers)
    result.check(len(paths) * each)
    outputs = Outputs(result, inputs_of(paths, [model], options))
    outputs.check(stems_of(paths) if each == 1 else ())
    with waiting(f"loading {model}", result.quiet):
        explainer = options.explainer(model)

    def write(outcome: Outcome, _path: Path, stem: str) -> Iterator[Fields]:
        yield from _written(outcome.explanations, _names(stem, outcome.explanations), outputs)

    asked = (question.method, question.targets, layers, settings, question.smooth)
    with explainer.session():
        outcomes = explainer.outcomes([picture_at(path) for path in paths], *asked)
        each_picture(paths, outcomes, write, "explaining", result, failed)


def _names(stem: str, explanations: Sequence[Explanation]) -> list[str]:
    """The picture's own stem, and behind it whatever differs between its explanations."""
    facts = [(e.layer, e.method, name_of_target(e)) for e in explanations]
    differing = [i for i in range(3) if len({fact[i] for fact in facts}) > 1]
    return numbered(["-".join([stem, *(slug(fact[i]) for i in differing)]) for fact in facts])


def _parts(explanation: Explanation) -> list[str]:
    """Model, layer, method and target as pieces of a file name."""
    method = "-".join([explanation.method, *explanation.provenance.smooth])
    model = Path(explanation.model).name
    return [slug(one) for one in (model, explanation.layer, method, name_of_target(explanation))]


def _written(explanations: Sequence[Explanation], names: Sequence[str], outputs: Outputs) -> Iterator[Fields]:
    from camlucida.heatmaps.scale import full_colour_values
    from camlucida.images.colour import diverging
    from camlucida.pipeline.file_marks import mark_of

    result = outputs.result
    limits = full_colour_values(
        [e.map_or_spread(result.show) for e in explanations], result.scale, diverging(result.colormap)
    )
    drawing: dict[str, Any] = {"alpha": result.alpha, "colormap": result.colormap, "show": result.show}
    for explanation, name, full in zip(explanations, names, limits, strict=True):
        mark = mark_of(explanation.manifest())
        path = outputs.path(name, mark, _parts(explanation))
        explanation.save(path, **outputs.writing, **drawing, full_at=full)
        if result.save_raw:
            explanation.save(path.with_suffix(".npz"), **outputs.writing)
        yield fields_of(path, explanation)
        for finding in explanation.health:
            say_note(f"{path}: {finding} ({finding.code})", result.quiet)
