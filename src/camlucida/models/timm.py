"""Networks of timm: by name, from the hub, from a folder, with weights of a file; and modules made by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from camlucida.errors import ModelError, setting, unknown_name
from camlucida.models.adapter import Adapter
from camlucida.models.labels import labels_from
from camlucida.models.preprocessing_steps import preprocess_of
from camlucida.models.weights import (
    HUB_FILES,
    SEED,
    cached,
    check_hub,
    fill,
    first_line,
    load_tensors,
    offline_hint,
)

if TYPE_CHECKING:
    from torch import Tensor, nn


_FOLDED = 8  # channels from which on a first convolution sees places made channels


def recognises(module: nn.Module) -> bool:
    """Whether timm made this module."""
    return type(module).__module__.startswith("timm.") and isinstance(
        getattr(module, "pretrained_cfg", None), dict
    )


def adapt(module: nn.Module, name: str, weights: str) -> Adapter:
    """A timm module with its checkpoint's own preprocessing."""
    from timm.data import create_transform, resolve_data_config

    config = resolve_data_config(model=module)
    channels = _channels(module, config["input_size"][0])
    config["input_size"] = (channels, *config["input_size"][1:])
    if channels != len(config["mean"]):  # as timm adapts weights made for pictures in colour
        config |= {key: (sum(config[key]) / len(config[key]),) * channels for key in ("mean", "std")}
    return Adapter(
        module=module,
        name=name,
        preprocess=preprocess_of(create_transform(**config), channels, _described_by(module, name)),
        labels=labels_of(module),
        input_size=config["input_size"],
        normalisation=(config["mean"], config["std"]),
        weights=weights,
        library="timm",
        outputs="embedding" if getattr(module, "num_classes", None) == 0 else "classes",
    )


def _described_by(module: nn.Module, name: str) -> str:
    """Where a module's preprocessing comes from."""
    if ":" in name:
        return f"the config.json of {name}"
    config: Any = module.pretrained_cfg
    known = [str(config[key]) for key in ("architecture", "tag") if config.get(key)]
    return f"timm's configuration of {'.'.join(known) or name}"


def _channels(module: nn.Module, configured: int) -> int:
    """How many channels the first convolution takes, where timm says which that is and it sees the picture."""
    first = getattr(module, "pretrained_cfg", {}).get("first_conv")
    name = (first or (None,))[0] if isinstance(first, (tuple, list)) else first
    parts = dict(module.named_modules())
    folded = any(type(part).__name__ == "SpaceToDepth" for part in parts.values())  # places made channels
    return configured if folded else int(getattr(parts.get(name), "in_channels", configured))


def labels_of(module: nn.Module) -> Sequence[str] | None:
    """The class names in the module's own configuration, else those of ImageNet's subset that it was made for;
    None where there are none.
    """
    from timm.data import infer_imagenet_subset

    config = getattr(module, "pretrained_cfg", {})
    own, described = config.get("label_names"), config.get("label_descriptions") or {}
    if own and len(own) == getattr(module, "num_classes", None):
        ordered = (
            [own[index] for index in range(len(own))] if isinstance(own, list | tuple) else labels_from(own)
        )
        return [str(described.get(one, one) if isinstance(described, dict) else one) for one in ordered]
    subset = infer_imagenet_subset(module)
    names = _descriptions(subset) if subset else ()
    return names if names and len(names) == getattr(module, "num_classes", None) else None


@cache
def _descriptions(subset: str) -> tuple[str, ...]:
    """What the classes of an ImageNet subset are called; timm reads its files anew each time."""
    from timm.data import ImageNetInfo

    info = ImageNetInfo(subset)
    return tuple(info.index_to_description(index) for index in range(info.num_classes()))


def load_random(name: str) -> nn.Module:
    """The network with the weights that timm starts training with, the same ones every time."""
    import torch

    check_name(name)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(SEED)  # the CPU's alone
        return create(_described(name), pretrained=False)


def load_file(name: str, file: Path) -> nn.Module:
    """The network with the weights of a safetensors file or a ``weights_only`` checkpoint.

    The number of classes is the checkpoint's.

    Raises:
        ModelError: there is no such file, it holds code, or it does not fit the network.
    """
    check_name(name)
    state = load_tensors(file)
    module = create(_described(name), pretrained=False, **_shape_of(name, state))
    fill(module, state, file, name)
    return module


def load_pretrained(name: str) -> nn.Module:
    """The network with its pretrained weights: those on this machine, else from the hub.

    Raises:
        ModelError: there are none, or they cannot be had without a network.
    """
    check_name(name)
    if ":" in name:
        return create(_described(name, HUB_FILES), pretrained=True)
    config = pretrained_config(name)
    if not (config.get("hf_hub_id") or config.get("url")):
        raise ModelError(
            f"timm has no pretrained weights for {name}, use {setting('weights', 'random')} or "
            f"{setting('weights', 'PATH')}"
        )
    file = cached_weights(config)
    if file is None:
        check_hub(name, _wanted_file(config))
        return create(name, pretrained=True)
    overlay = {"file": str(file), "custom_load": file.suffix == ".npz"}  # so that nobody asks the hub
    return create(name, pretrained=True, pretrained_cfg_overlay=overlay)


def create(name: str, **arguments: Any) -> nn.Module:
    """``timm.create_model`` in evaluation mode, its errors in one line."""
    import timm

    try:
        module: nn.Module = timm.create_model(name, **arguments)
    except (RuntimeError, OSError, ValueError, AssertionError) as error:
        raise ModelError(f"timm cannot make {name} ({first_line(error)}): {offline_hint()}") from error
    return module.eval()


def check_name(name: str) -> None:
    """Refuse a name that timm does not know, offering close ones."""
    import timm

    if ":" not in name and not timm.is_model(name.partition(".")[0]):
        raise ModelError(unknown_name("model", name, timm.list_models(), "`camlucida models` lists them all"))


def pretrained_config(name: str) -> dict[str, Any]:
    """Timm's pretrained configuration of a registered name, with or without a tag."""
    from timm.models import get_pretrained_cfg

    try:
        config = get_pretrained_cfg(name)
    except RuntimeError as error:
        raise ModelError(f"timm knows no such weights ({first_line(error)}): omit the tag") from error
    return config.to_dict() if config is not None else {}


def cached_weights(config: Mapping[str, Any]) -> Path | None:
    """The file with the weights that a pretrained configuration names, if the hub's or torch's cache has it."""
    from torch.hub import get_dir

    if hub := config.get("hf_hub_id"):
        files = (config["hf_hub_filename"],) if config.get("hf_hub_filename") else HUB_FILES
        if found := cached(hub, files):
            return found
    name = Path(urlsplit(config.get("url") or "").path).name
    downloaded = Path(get_dir()) / "checkpoints" / name
    return downloaded if name and downloaded.is_file() else None


def _described(name: str, weights: Sequence[str] = ()) -> str:
    """For a hub network whose description, and one of ``weights`` if any, is in the cache: its folder there."""
    source, colon, hub = name.partition(":")
    if not colon or source not in ("hf-hub", "hf_hub"):
        return name
    config = cached(hub, ("config.json",))
    if config is not None and (not weights or cached(hub, weights)):
        return f"local-dir:{config.parent}"
    check_hub(name, f"{weights[0] if config and weights else 'config.json'} of {hub}")
    return name


def _wanted_file(config: Mapping[str, Any]) -> str:
    if config.get("hf_hub_id"):
        return f"{config.get('hf_hub_filename') or HUB_FILES[0]} of {config['hf_hub_id']}"
    return str(config["url"])


def _shape_of(name: str, state: Mapping[str, Tensor]) -> dict[str, int]:
    """The numbers of classes and channels in a checkpoint, where timm says which tensors tell."""
    config = pretrained_config(name) if ":" not in name else {}
    found = {}
    for place, axis, argument in (("classifier", 0, "num_classes"), ("first_conv", 1, "in_chans")):
        layer = config.get(place)
        weight = state.get(f"{layer}.weight") if isinstance(layer, str) else None
        if weight is not None and weight.ndim > axis:
            found[argument] = int(weight.shape[axis])
    if not 0 < found.get("in_chans", 0) < _FOLDED:
        found.pop("in_chans", None)
    return found
