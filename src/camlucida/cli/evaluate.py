"""``camlucida evaluate`` and ``recommend``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Group, Parameter

from camlucida.cli.evaluation_output import say_end, say_next, timed
from camlucida.cli.lists import print_table
from camlucida.cli.model_options import ModelOptions
from camlucida.cli.options import METHOD, check_folder, parsed_options, several
from camlucida.cli.outputs import inputs_of
from camlucida.cli.talk import say_note, tracked, waiting

if TYPE_CHECKING:
    from camlucida.evaluation.dataset import Item
    from camlucida.evaluation.run import Evaluation
    from camlucida.methods.registry import Method
    from camlucida.metrics.registry import Metric
    from camlucida.pipeline.explainer import Explainer


@Parameter(name="*", group=Group("Measuring", sort_key=1))
@dataclass(frozen=True)
class EvaluationOptions:
    """Methods, metrics and data of an evaluation."""

    method: Annotated[tuple[str, ...], METHOD] = ()
    """A method from `camlucida methods` (default: seven that take one forward). Repeat for several."""

    layer: Annotated[tuple[str, ...], several("LAYER")] = ()
    """A layer from `camlucida layers`. Repeat for several."""

    metric: Annotated[tuple[str, ...], several("METRIC")] = ()
    """From `camlucida metrics` (default: deletion, insertion and road_combined; on grids energy_inside)."""

    option: Annotated[tuple[str, ...], several("NAME.OPTION=VALUE")] = ()
    """An option of a method or a metric, such as `deletion.steps=64`. Repeat for several."""

    masks: Path | None = None
    """Folder of masks: for each picture one of the same name, white where the object is."""

    grid: int = 0
    """Evaluate on mosaics of N × N pictures, where the position of each class is known (GridPG). Give
    pictures of one object each, from at least N × N classes; misclassified ones are left out."""

    grids: int = 100
    """Number of mosaics."""

    seed: int = 0
    """Seed of everything random: noise, controls, intervals."""

    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None
    """Folder for the results (default: results/NAME-evaluate, -grid or -recommend). Rows in it are reused."""

    def folder(self, source: Path, command: str) -> Path:
        """Where results go."""
        if self.out:
            check_folder(self.out, "tables and pictures of a run go into a folder")
        name = source.resolve().stem or "all"
        return self.out or Path("results") / f"{name}-{'grid' if self.grid else command}"

    overwrite: Annotated[bool, Parameter(negative="")] = False
    """Also replace files that camlucida did not write. Inputs are never replaced."""

    quiet: Annotated[bool, Parameter(negative="")] = False
    """Print only errors on stderr."""


def evaluate(
    source: Path,
    /,
    *,
    model: str = "efficientnet_lite0",
    measuring: EvaluationOptions = EvaluationOptions(),
    options: ModelOptions = ModelOptions(),
) -> None:
    """Measure how far maps can be trusted, next to controls that know nothing of the model.

    Prints a table with a 95 % interval over pictures for each number, and `≈control` where it is not
    significantly better than a random map, a centred spot and the picture's edges. Writes evaluation.json, .csv
    and ranking.png.

    Parameters
    ----------
    source
        A folder with one folder of pictures per class, a folder of pictures (the model's top class is
        explained), or a .csv table of path, label and box (left top right bottom, in pixels).
    model
        A timm name, torchvision:NAME, hf:NAME_OR_FOLDER or file.py:factory.
    """
    from camlucida.evaluation import report

    out = measuring.folder(source, "evaluate")
    explainer, items, writing = _ready(source, model, measuring, options, out)
    found = _measured(explainer, items, measuring, out, measuring.layer or (None,))
    if found.rows:
        print_table(found.table())
        for path in report.write(found, out, found.request, **writing):
            sys.stdout.write(f"{path}\n")
    say_end(found, measuring.quiet)


def recommend(
    source: Path,
    /,
    *,
    model: str = "efficientnet_lite0",
    measuring: EvaluationOptions = EvaluationOptions(),
    options: ModelOptions = ModelOptions(),
) -> None:
    """Recommend a method and layer for a model, measured on your pictures.

    Tries methods at the last layers of the three coarsest grids and sorts them by their mean rank. Entries that
    do not differ significantly from the best are marked.

    Parameters
    ----------
    source
        As for `camlucida evaluate`.
    model
        A timm name, torchvision:NAME, hf:NAME_OR_FOLDER or file.py:factory.
    """
    from camlucida.evaluation import report
    from camlucida.evaluation.api import coarsest_layers
    from camlucida.evaluation.run import advice, advice_table

    out = measuring.folder(source, "recommend")
    explainer, items, writing = _ready(source, model, measuring, options, out)
    with waiting("looking at layers", measuring.quiet):
        layers = measuring.layer or tuple(coarsest_layers(explainer))
    found = _measured(explainer, items, measuring, out, layers)
    if found.rows:
        report.write(found, out, found.request, **writing)
        print_table(advice_table(found))
        say_next(advice(found), model, options, measuring.quiet)
    say_end(found, measuring.quiet)


def _ready(
    source: Path, model: str, measuring: EvaluationOptions, options: ModelOptions, out: Path
) -> tuple[Explainer, list[Item], dict[str, Any]]:
    """The model, what it is measured on, and what results must not replace."""
    from camlucida.evaluation import report
    from camlucida.evaluation.dataset import items_in

    with waiting(f"loading {model}", measuring.quiet):
        explainer = options.explainer(model)
    items = items_in(source, explainer.adapter.labels, measuring.masks)
    read = [source, *(file for item in items for file in (item.path, item.mask) if file)]
    writing: dict[str, Any] = {"never": inputs_of(read, [model], options), "overwrite": measuring.overwrite}
    report.check(out, **writing)
    return explainer, items, writing


def _measured(
    explainer: Explainer,
    items: Sequence[Item],
    measuring: EvaluationOptions,
    out: Path,
    layers: Sequence[str | None],
) -> Evaluation:
    from camlucida.evaluation.api import Plan, Progress, measured
    from camlucida.evaluation.run import METHODS, METRICS, MOSAIC_METRICS
    from camlucida.methods.registry import get_method
    from camlucida.metrics.registry import get_metric

    methods = [get_method(name) for name in measuring.method or METHODS]
    metrics = [get_metric(name) for name in measuring.metric or (MOSAIC_METRICS if measuring.grid else METRICS)]
    chosen: list[Method | Metric] = [*methods, *metrics]
    plan = Plan(
        methods=[one.name for one in methods],
        layers=layers,
        metrics=[one.name for one in metrics],
        options=parsed_options(measuring.option, {one.name: one for one in chosen}),
        grid=measuring.grid,
        grids=measuring.grids,
        seed=measuring.seed,
        out=out,
    )
    quiet = measuring.quiet
    progress = Progress(
        look=partial(tracked, count=len(items), what="looking at pictures", quiet=quiet),
        measure=lambda evaluator: partial(timed, evaluator=evaluator, quiet=quiet),
        note=partial(say_note, quiet=quiet),
    )
    return measured(explainer, items, plan, progress)
