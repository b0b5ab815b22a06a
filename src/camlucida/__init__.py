"""camlucida shows where an image classifier looked: class activation maps for any classifier.

>>> import camlucida as cl
>>> explanation = cl.explain("cat.jpg", model="resnet50", method="gradcam")  # doctest: +SKIP
>>> explanation.save("results/cat.png")  # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from camlucida.errors import CamlucidaError as CamlucidaError
    from camlucida.evaluation.api import evaluate as evaluate
    from camlucida.evaluation.api import recommend as recommend
    from camlucida.pipeline.api import explain as explain
    from camlucida.pipeline.comparison import compare as compare
    from camlucida.pipeline.diagnosis import doctor as doctor
    from camlucida.pipeline.explainer import Explainer as Explainer
    from camlucida.pipeline.explanation import Explanation as Explanation
    from camlucida.pipeline.sheet import Sheet as Sheet
    from camlucida.targets.base import ClassProbability as ClassProbability
    from camlucida.targets.base import ClassScore as ClassScore
    from camlucida.targets.base import Contrast as Contrast
    from camlucida.targets.base import PerPicture as PerPicture
    from camlucida.targets.base import TopClass as TopClass

__version__ = "0.1.0"

_HOME = {
    "CamlucidaError": "errors",
    "ClassProbability": "targets.base",
    "ClassScore": "targets.base",
    "Contrast": "targets.base",
    "Explainer": "pipeline.explainer",
    "Explanation": "pipeline.explanation",
    "PerPicture": "targets.base",
    "Sheet": "pipeline.sheet",
    "TopClass": "targets.base",
    "compare": "pipeline.comparison",
    "doctor": "pipeline.diagnosis",
    "evaluate": "evaluation.api",
    "explain": "pipeline.api",
    "recommend": "evaluation.api",
}

_ROOMS = ("compat", "metrics", "testbed")

__all__ = ["__version__", *_HOME]  # noqa: PLE0604 - names, from the one place that has them


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f"camlucida.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'camlucida' has no attribute {name!r}")
    return getattr(import_module(f"camlucida.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
