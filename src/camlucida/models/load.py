"""A model by name, or a module of the user's own, as an Adapter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from camlucida.capture.borrow import unwrapped
from camlucida.capture.logits import logits_by
from camlucida.errors import ModelError, unknown_name
from camlucida.files import is_file, is_folder
from camlucida.models import bundled, factory_file, huggingface
from camlucida.models import timm as timm_models
from camlucida.models import torchvision as torchvision_models
from camlucida.models.adapter import Adapter
from camlucida.models.checkpoint_config import beside_weights
from camlucida.models.labels import labels_from
from camlucida.models.preprocessing import as_told, known_channels, preprocessing, with_preprocess
from camlucida.models.preprocessing_steps import no_preprocess
from camlucida.models.state_dict_keys import ends_in
from camlucida.models.wrappers import around, inner_of

if TYPE_CHECKING:
    from torch import nn

_OF_TIMM = ("hf-hub:", "hf_hub:", "local-dir:")  # where timm's own names may point
_OF_WEIGHTS = (".pt", ".pth", ".ckpt", ".safetensors", ".bin", ".tar")
_NO_FILES = ("pretrained", "random")
_FORMS = "a timm name, torchvision:NAME, hf:NAME_OR_FOLDER, file.py:factory"


def load(model: Any, weights: str | Path = "pretrained") -> Adapter:
    """The model meant by a name or an ``nn.Module``.

    A name is timm's (``timm:…``, ``hf-hub:…`` and ``local-dir:…`` too), ``torchvision:NAME``,
    ``hf:NAME_OR_FOLDER`` or ``file.py:factory``. ``weights`` is "pretrained", "random" or a file, which may
    also stand behind the name, ``name@file``; it is for names only: a module keeps its own.

    Raises:
        ModelError: there is no such model, or its weights cannot be had.
    """
    import torch

    if isinstance(model, torch.nn.Module):
        return _adapt_module(unwrapped(model))
    if not isinstance(model, str):
        raise ModelError(f"a model is a timm name or an nn.Module, got {type(model).__name__}")
    name, weights = split_weights(model, weights)
    adapter, told = _named(name, str(weights))
    adapter = replace(adapter, name=adapter.name if name == model else model)
    if str(weights) in _NO_FILES:
        return adapter
    beside = beside_weights(Path(weights))
    if not told.labels and beside.labels and ends_in(adapter.module, len(beside.labels)):
        adapter = replace(adapter, labels=beside.labels)
    return adapter if told.preprocess else as_told(adapter, beside, Path(weights))


def split_weights(model: str, weights: str | Path = "pretrained") -> tuple[str, str | Path]:
    """``name@file`` as the name and its file of weights; "@" before anything else is one of a hub's revision.

    Raises:
        ModelError: other weights are asked for as well.
    """
    name, mark, file = model.rpartition("@")
    whole = Path(model.partition(":")[2] or model).expanduser()
    if not (mark and name) or is_file(whole) or is_folder(whole):
        return model, weights
    if not (Path(file).suffix.lower() in _OF_WEIGHTS or is_file(Path(file).expanduser())):
        return model, weights
    if str(weights) not in ("pretrained", file):
        raise ModelError(f"{model} names its weights, but {weights} are given too: omit one of them")
    return name, str(Path(file).expanduser())


@dataclass(frozen=True)
class _Told:
    """What a factory says itself, which takes precedence over a file."""

    preprocess: bool = False
    labels: bool = False


def _named(model: str, weights: str) -> tuple[Adapter, _Told]:
    """The model of this name, and what a factory told of it."""
    if factory_file.is_own(model):
        made = factory_file.load(model, weights)
        told = _Told(made.preprocess is not None, made.labels is not None)
        return _adapt_made(made, model, weights), told
    for prefix, load_named in _LOADERS.items():
        if model.startswith(prefix):
            return load_named(model.removeprefix(prefix), weights), _Told()
    if weights == "pretrained" and model in bundled.BUNDLED:
        return timm_models.adapt(bundled.load_bundled(model), model, "pretrained"), _Told()
    return _load_timm(model, weights), _Told()


def _load_timm(name: str, weights: str) -> Adapter:
    _check_name(name)
    if weights == "random":
        return timm_models.adapt(timm_models.load_random(name), name, weights)
    if weights != "pretrained":
        return timm_models.adapt(timm_models.load_file(name, Path(weights)), name, weights)
    return timm_models.adapt(timm_models.load_pretrained(name), name, weights)


_LOADERS: dict[str, Callable[[str, str], Adapter]] = {
    "timm:": _load_timm,
    torchvision_models.PREFIX: torchvision_models.load,
    huggingface.PREFIX: huggingface.load,
}


def _check_name(name: str) -> None:
    """Refuse a name that timm does not know, offering close ones of every library.

    Raises:
        ModelError: it is not known.
    """
    import timm

    if Path(name).suffix.lower() in _OF_WEIGHTS:
        raise ModelError(f"{name} is a weights file: name its model as well, such as resnet50@{name}")
    prefix, colon, _ = name.partition(":")
    if colon:
        if f"{prefix}:" not in _OF_TIMM:
            known = [*_LOADERS, *_OF_TIMM]
            raise ModelError(unknown_name("model source", f"{prefix}:", known, f"a model is {_FORMS}"))
        return
    if timm.is_model(name.partition(".")[0]):
        return
    if name in torchvision_models.names():
        raise ModelError(f"{name} is torchvision's and not timm's: {torchvision_models.PREFIX}{name}")
    if name and is_folder(Path(name)):
        raise ModelError(
            f"{name} is a folder: hf:{name} if transformers wrote it, local-dir:{name} if timm did"
        )
    if "/" in name:
        raise ModelError(f"model {name!r} is no timm name: hf:{name} or hf-hub:{name} if the hub has it")
    near = " or ".join(repr(other) for other in _near(name))
    offer = f"did you mean {near}? " if near else ""
    raise ModelError(f"model {name!r} is not known: {offer}`camlucida models` lists them all")


def _near(name: str) -> list[str]:
    """The names closest to ``name``: timm's, and torchvision's others with their prefix."""
    import timm

    of_timm = timm.list_models()
    shown = {other: f"{torchvision_models.PREFIX}{other}" for other in torchvision_models.names()}
    shown |= {other: other for other in of_timm}
    return [shown[other] for other in get_close_matches(name.lower(), list(shown), n=4, cutoff=0.5)]


def _adapt_module(module: nn.Module) -> Adapter:
    name = type(module).__name__
    if isinstance(module, _scripted()):
        raise ModelError(
            f"{name} is TorchScript, which has no layers to hook: pass the Python module it was made from"
        )
    if timm_models.recognises(module):
        config = module.pretrained_cfg
        known = config.get("architecture") if isinstance(config, dict) else None
        return timm_models.adapt(module, known or name, "own")
    if torchvision_models.recognises(module):
        return torchvision_models.adapt_own(module)
    if huggingface.recognises(module):
        return huggingface.adapt_own(module)
    plain = Adapter(module, name, no_preprocess, None, None, None, "own", "torch")
    return _by_what_is_inside(module) or plain


def _by_what_is_inside(module: nn.Module) -> Adapter | None:
    """By the one model of a library inside a module that hands on, such as peft's; None where there is none."""
    inner = inner_of(module)
    if inner is None or isinstance(inner, _scripted()):
        return None
    try:
        known = _adapt_module(unwrapped(inner))
    except ModelError:  # what is inside would be refused alone, and what is around it knows better
        return None
    return None if known.library == "torch" else around(module, known)


def _adapt_made(made: factory_file.Made, name: str, weights: str) -> Adapter:
    """What a factory made: what it says of preprocessing and labels stands before what a library says."""
    adapter = replace(_adapt_module(unwrapped(made.module)), name=name)
    if weights != "pretrained":
        adapter = replace(adapter, weights=weights)
    if made.preprocess is not None:
        adapter = with_preprocess(adapter, preprocessing(made.preprocess, known_channels(adapter), name))
    return with_user_labels(adapter, made.labels)


def with_user_labels(
    adapter: Adapter, labels: Any = None, logits_of: Callable[[Any], Any] | None = None
) -> Adapter:
    """The adapter with the user's class names and ``logits_of``, if given.

    Raises:
        OptionError: the names have another form (see ``labels_from``).
    """
    if labels is not None:
        adapter = replace(adapter, labels=labels_from(labels), labels_given=True)
    return adapter if logits_of is None else replace(adapter, logits_of=logits_by(logits_of))


def _scripted() -> type:
    import torch

    return torch.jit.ScriptModule


def split_layer(name: str) -> tuple[str, str | None]:
    """``model#layer`` as (model, layer or None); a "#" in the name of a file or folder is none of a layer."""
    model, mark, layer = name.rpartition("#")
    if not mark or "/" in layer or _is_place(name):
        return name, None
    return model, layer or None


def _is_place(name: str) -> bool:
    """Whether a model's whole name is that of a file or folder that there is."""
    if factory_file.is_own(name):
        return "#" not in name.rpartition(":")[2]  # the factory's name
    place = name.partition(":")[2]
    path = Path(place or name).expanduser()
    return is_file(path) or is_folder(path)
