"""``camlucida models``, ``methods`` and ``layers``: what there is."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from fnmatch import fnmatch
from typing import Annotated

from cyclopts import Parameter

from camlucida.cli.talk import waiting
from camlucida.errors import ModelError


def models(pattern: str = "*", /, *, here: Annotated[bool, Parameter(negative="")] = False) -> None:
    """List models by timm's names, and which have weights on this machine.

    Prints a name a line and, behind a tab, `here` where its pretrained weights are on this machine.

    Parameters
    ----------
    pattern
        As in timm.list_models: 'convnext*'.
    here
        Only those with weights on this machine.
    """
    import timm

    from camlucida.models import embedded
    from camlucida.models import timm as timm_models

    names = sorted(
        {*timm.list_models(pattern), *(name for name in embedded.EMBEDDED if fnmatch(name, pattern))}
    )
    if not names:
        raise ModelError(f"no model fits {pattern!r}, give a pattern such as 'convnext*', in quotes")
    for name in names:
        if name in embedded.EMBEDDED:
            present = embedded.weights_file(name) is not None
        else:
            present = timm_models.cached_weights(timm_models.pretrained_config(name)) is not None
        if present or not here:
            sys.stdout.write(f"{name}\there\n" if present else f"{name}\n")


def methods() -> None:
    """List the methods: family, what each needs of the model, what it costs, its options and its paper."""
    from camlucida.registry import entries

    rows = [("method", "family", "needs", "cost", "options", "paper", "what it shows")]
    for entry in entries().values():
        options = ", ".join(f"{option.name}={option.default}" for option in entry.options.values())
        needs = " + ".join(entry.needs)
        rows.append(
            (entry.name, entry.family, needs, entry.cost, options or "–", entry.paper.citation, entry.summary)
        )
    _print_table(rows)


def layers(model: str = "efficientnet_lite0", /) -> None:
    """List a model's layers with the shape and layout of what they return; the default one is marked.

    `--layer` and `model#layer` take any of them that has a layout; one without has no positions.

    Parameters
    ----------
    model
        A timm name; the layers do not depend on its weights.
    """
    import torch

    from camlucida.errors import LayerError
    from camlucida.explainer import Explainer
    from camlucida.layers.locate import layout

    with waiting(f"tracing {model}", quiet=False):
        explainer = Explainer(model, weights="random", device="cpu")
        size = explainer.adapter.input_size or (3, 224, 224)
        picture = torch.zeros(size)
        records = explainer.records(picture)
    try:
        default, reason = explainer.layer_name(None, picture), ""
    except LayerError as error:
        default, reason = None, f"no default: {error}"
    rows = [("layer", "module", "returns", "layout", "")]
    for record in records:
        shape = " ".join("×".join(map(str, returned)) for returned in record.returns)
        read = layout(explainer.module, record, size[1:])
        mark = "← default" if record.name == default else ""
        rows.append((record.name, type(record.module).__name__, shape, str(read or "–"), mark))
    _print_table(rows)
    if reason:
        sys.stdout.write(f"{reason}\n")


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as their widest entry; plain text, so that it can be searched and piped."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [text.ljust(width) for text, width in zip(row, widths, strict=True)]
        sys.stdout.write("  ".join(cells).rstrip() + "\n")
