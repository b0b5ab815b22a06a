"""Pictures and models for which the location of the evidence is known by construction.

>>> from camlucida import testbed
>>> testbed.pointing_game("gradcam")  # doctest: +SKIP
{'resnet': 1.0, 'convnext': 1.0, 'vit': 0.985, 'swin': 0.99}
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from camlucida.testbed.game import energy_inside as energy_inside
    from camlucida.testbed.game import maps as maps
    from camlucida.testbed.game import pointing as pointing
    from camlucida.testbed.game import pointing_game as pointing_game
    from camlucida.testbed.networks import models as models
    from camlucida.testbed.networks import shortcut_models as shortcut_models
    from camlucida.testbed.pictures import CLASSES as CLASSES
    from camlucida.testbed.pictures import Samples as Samples
    from camlucida.testbed.pictures import TaggedSamples as TaggedSamples
    from camlucida.testbed.pictures import conflict_samples as conflict_samples
    from camlucida.testbed.pictures import samples as samples
    from camlucida.testbed.pictures import shortcut_samples as shortcut_samples

_HOME = {
    "CLASSES": "pictures",
    "Samples": "pictures",
    "TaggedSamples": "pictures",
    "conflict_samples": "pictures",
    "energy_inside": "game",
    "maps": "game",
    "models": "networks",
    "pointing": "game",
    "pointing_game": "game",
    "samples": "pictures",
    "shortcut_models": "networks",
    "shortcut_samples": "pictures",
}

__all__ = [*_HOME]  # noqa: PLE0604 - names, from the one place that has them


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'camlucida.testbed' has no attribute {name!r}")
    return getattr(import_module(f"camlucida.testbed.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
