"""``camlucida explain``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from camlucida.cli.options import SEVERAL, ModelOptions, Question, Result, numbered, slug
from camlucida.cli.run import each_picture, name_of_target, print_result
from camlucida.cli.talk import say_note, waiting

if TYPE_CHECKING:
    from camlucida.explanation import Explanation


def explain(
    pictures: list[Path],
    /,
    *,
    model: str = "efficientnet_lite0",
    layer: Annotated[tuple[str, ...], SEVERAL] = (),
    question: Question = Question(),
    options: ModelOptions = ModelOptions(),
    result: Result = Result(),
) -> None:
    """Draw where a model looked, over each picture, at the picture's own size.

    Prints for each result: file, class and probability, method, model and layer, with tabs between.

    Parameters
    ----------
    pictures
        Picture files, or folders of them.
    model
        A timm name, torchvision:NAME, hf:NAME_OR_FOLDER or file.py:factory; `name#layer` picks a layer.
    layer
        What `camlucida layers MODEL` lists; the model's default unless said. Repeat it for several.
    """
    from camlucida.images import find

    settings, layers = question.options(), layer or (None,)
    paths = list(find(pictures))
    result.check(len(paths) * len(question.method) * len(question.targets) * len(layers))
    with waiting(f"loading {model}", result.quiet):
        explainer = options.explainer(model)

    def one(path: Path, stem: str) -> None:
        explanations = explainer.explain(
            path, question.method, question.targets, layers, settings, question.smooth
        )
        _write(explanations, _names(stem, explanations), result)

    each_picture(paths, one, "explaining", result.quiet)


def _names(stem: str, explanations: Sequence[Explanation]) -> list[str]:
    """The picture's own stem, and behind it whatever differs between its explanations."""
    facts = [(e.layer, e.method, name_of_target(e)) for e in explanations]
    differing = [i for i in range(3) if len({fact[i] for fact in facts}) > 1]
    return numbered(["-".join([stem, *(slug(fact[i]) for i in differing)]) for fact in facts])


def _write(explanations: Sequence[Explanation], names: Sequence[str], result: Result) -> None:
    from camlucida.heatmap import limit
    from camlucida.render.colour import diverging

    limits = limit([e.map_named(result.show) for e in explanations], result.scale, diverging(result.colormap))
    for explanation, name, full in zip(explanations, names, limits, strict=True):
        path = result.path(name)
        explanation.save(path, alpha=result.alpha, colormap=result.colormap, limit_at=full, show=result.show)
        if result.save_raw:
            explanation.save(path.with_suffix(".npz"))
        print_result(path, explanation)
        for finding in explanation.health:
            say_note(f"{path}: {finding}", result.quiet)
