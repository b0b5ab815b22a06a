"""``camlucida.explain``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack, cast

from camlucida.errors import PictureError
from camlucida.models.bundled import DEFAULT_MODEL
from camlucida.pipeline.arguments import options_of
from camlucida.pipeline.explainer import Explainer
from camlucida.pipeline.explanation import Explanation
from camlucida.pipeline.settings import ExplainSettings, Settings

if TYPE_CHECKING:
    from torch import nn


def explain(
    picture: Any,
    model: str | nn.Module = DEFAULT_MODEL,
    method: str = "gradcam",
    target: Any = None,
    layer: str | nn.Module | None = None,
    **settings: Unpack[ExplainSettings],
) -> Explanation:
    """Where ``model`` looked in one ``picture``; ``settings`` are those of ``Explainer`` and two more.

    These are ``options``, the method's own, {option: value}, and ``smooth`` as for ``Explainer.explain``.

    For several pictures, methods, targets or layers of one model use ``Explainer``: it loads the model once.
    """
    own, smooth = options_of(method, settings.pop("options", None)), settings.pop("smooth", ())
    explainer = Explainer(model, **cast("Settings", settings))
    explanations = explainer.explain(picture, [method], [target], [layer], own, smooth)
    if len(explanations) != 1:
        raise PictureError(
            f"explain takes one picture, got {len(explanations)}: use Explainer(model).explain(pictures)"
        )
    return explanations[0]
