"""``camlucida models``, ``methods``, ``metrics`` and ``layers``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from fnmatch import fnmatch
from shutil import get_terminal_size
from typing import Annotated

from cyclopts import Parameter

from camlucida.cli.model_options import ModelOptions
from camlucida.cli.talk import say_note, waiting
from camlucida.errors import ModelError
from camlucida.tables import counted, format_table, narrowed


def models(pattern: str = "*", /, *, here: Annotated[bool, Parameter(negative="")] = False) -> None:
    """List timm models, and which have weights on this machine.

    Prints one name per line, followed by a tab and `here` if its pretrained weights are on this machine.

    Parameters
    ----------
    pattern
        As in timm.list_models: 'convnext*'.
    here
        List only models with weights on this machine.
    """
    import timm

    from camlucida.models import bundled
    from camlucida.models import timm as timm_models

    names = sorted({*timm.list_models(pattern), *(name for name in bundled.BUNDLED if fnmatch(name, pattern))})
    if not names:
        raise ModelError(f"no model fits {pattern!r}, give a pattern such as 'convnext*', in quotes")
    for name in names:
        if name in bundled.BUNDLED:
            present = bundled.weights_file(name) is not None
        else:
            present = timm_models.cached_weights(timm_models.pretrained_config(name)) is not None
        if present or not here:
            sys.stdout.write(f"{name}\there\n" if present else f"{name}\n")


def methods() -> None:
    """List methods: family, what each needs from the model, cost, options and paper."""
    from camlucida.methods.registry import all_methods

    rows = [("method", "family", "needs", "cost", "options", "paper", "what it shows")]
    for entry in all_methods().values():
        options = ", ".join(f"{option.name}={option.default}" for option in entry.options.values())
        needs = " + ".join(entry.needs)
        rows.append(
            (entry.name, entry.family, needs, entry.cost, options or "–", entry.paper.citation, entry.summary)
        )
    print_table(rows)


def layers(
    model: str = "efficientnet_lite0",
    /,
    *,
    every: Annotated[bool, Parameter(name=["--all"], negative="")] = False,
    options: ModelOptions | None = None,
) -> None:
    """List a model's layers: output shape, layout, and which one is the default and why.

    Lists the last layer of each grid; `--all` lists every layer, also those without positions.

    `--layer` and `model#layer` accept any layer with a layout. The probe verifies it: it changes parts of a
    noise image and reads off which positions respond.

    Parameters
    ----------
    model
        A timm name, torchvision:NAME, hf:NAME_OR_FOLDER or file.py:factory.
    every
        All layers.
    """
    from camlucida.errors import LayerError
    from camlucida.pipeline.diagnosis import noise_for

    with waiting(f"looking at the layers of {model}", quiet=False):
        explainer = (options or ModelOptions()).explainer(model)
        like = noise_for(explainer)
        with explainer.extra_inputs():
            verdicts, looked = explainer.inspector.all(like), explainer.inspector.survey(like)
            try:
                choice, reason = explainer.inspector.default(like), ""
            except LayerError as error:
                choice, reason = None, f"no default: {error}"
    chosen = choice.verdicts if choice else {}
    rows = [("layer", "module", "returns", "layout", "probe", "")]
    last = {found.layout.grid: name for name, found in verdicts.items()}  # in the order in which they run
    listed = {*last.values(), *chosen}
    for one in looked.layer_calls:
        if not (every or one.name in listed):
            continue
        shape = " ".join("×".join(map(str, returned)) for returned in one.shapes)
        found = verdicts.get(one.name)
        read = (str(found.layout), f"{found.verdict} {found.score:.2f}") if found else ("–", "")
        rows.append((one.name, one.module, shape, *read, "← default" if one.name in chosen else ""))
    print_table(rows)
    left_out = len({one.name for one in looked.layer_calls}) - len(listed)
    if left_out and not every:
        sys.stdout.write(f"{counted(left_out, 'other layer')} with `--all`\n")
    if choice:
        sys.stdout.write(f"default: {'+'.join(chosen)}, {WHY}\n")
    for line in (*(choice.remarks if choice else ()), reason):
        sys.stdout.write(f"{line}\n" if line else "")


def clear() -> None:
    """Remove the cache; it is rebuilt when needed."""
    from camlucida.layers import cache

    count = cache.clear()
    sys.stdout.write(f"{count} {'entry' if count == 1 else 'entries'} removed from {cache.folder()}\n")


WHY = "the last with positions, on most of which the whole score depends"


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """On stdout, see ``tables.format_table``; no wider than a terminal, whole where it is read by a program."""
    on_terminal = sys.stdout.isatty()
    shown = narrowed(rows, get_terminal_size().columns) if on_terminal else rows
    sys.stdout.write(format_table(shown) + "\n")
    if on_terminal and list(map(list, rows)) != list(map(list, shown)):
        say_note("columns are cut to the terminal's width: pipe it (`| less -S`) to see all", quiet=False)


def metrics() -> None:
    """List metrics: family, direction, range, options and paper."""
    from camlucida.metrics.registry import all_metrics as known

    rows = [("metric", "family", "better", "range", "options", "paper", "what it says")]
    for one in known().values():
        options = ", ".join(f"{option.name}={option.default}" for option in one.options.values())
        bounds = f"{one.bounds[0]:g} to {one.bounds[1]:g}"
        rows.append((one.name, one.family, one.better, bounds, options or "–", one.paper.citation, one.summary))
    print_table(rows)
