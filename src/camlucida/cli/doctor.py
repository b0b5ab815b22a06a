"""``camlucida doctor``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from camlucida.cli.model_options import ModelOptions
from camlucida.cli.options import check_folder, slug
from camlucida.cli.talk import tracked, waiting


def doctor(
    model: str = "efficientnet_lite0",
    /,
    *,
    out: Path = Path("results"),
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    options: ModelOptions = ModelOptions(),
) -> None:
    """Check one model: default layer, layout, custody, speed, memory, and which methods work.

    Methods run on noise. Also draws which part of the input each position of the default layer responds to:
    expected on the left, probed on the right.

    Parameters
    ----------
    model
        A timm name, torchvision:NAME, hf:NAME_OR_FOLDER or file.py:factory.
    out
        The folder for the probe's picture.
    overwrite
        Also replace a file of that name that camlucida did not write.
    """
    from camlucida.files import save_picture
    from camlucida.images.probe_picture import places_picture
    from camlucida.methods.registry import all_methods
    from camlucida.pipeline import diagnosis

    check_folder(out, "the probe's pictures go into a folder")
    with waiting(f"loading {model}", quiet=False):
        explainer = options.explainer(model)
        picture = diagnosis.noise_for(explainer)
    forward = diagnosis.forward_seconds(explainer, picture)
    for name, text in diagnosis.facts(explainer, picture, forward):
        sys.stdout.write(f"{name:10}{text}\n")
    choice = explainer.inspector.default(picture)
    for layer, told in diagnosis.places(explainer, picture, choice).items():
        path = out / f"{slug(model)}-{slug(layer)}-probe.png"
        save_picture(places_picture(told.numpy()), path, overwrite=overwrite)
        sys.stdout.write(f"{'probe':10}{path}\n")
    methods = list(all_methods())
    for method in tracked(methods, len(methods), "trying methods", quiet=False):
        sys.stdout.write(f"{diagnosis.check_method(explainer, picture, method, forward)}\n")
