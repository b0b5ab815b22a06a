"""Weights: out of a file, out of a cache, and whether the network can be asked for them."""

from __future__ import annotations

import pickle
import socket
import struct
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from zipfile import BadZipFile, ZipFile, is_zipfile

from camlucida.errors import ModelError, setting
from camlucida.files import is_file
from camlucida.models.state_dict_keys import check_whole, fitted, unlike

if TYPE_CHECKING:
    from torch import Tensor, nn

HUB_FILES = ("model.safetensors", "pytorch_model.bin")
SEED = 0
_WRAPPED = ("model_state_dict", "model_state", "net_state_dict", "weights", "params", "network")


def load_tensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file or a ``weights_only`` checkpoint by name.

    Raises:
        ModelError: there is no such file, or it holds code or something else than tensors.
    """
    import torch
    from safetensors import SafetensorError
    from timm.models import load_state_dict

    if not is_file(file):
        raise ModelError(
            f"no weights at {file}, give a safetensors file or a checkpoint, or 'pretrained', 'random'"
        )
    unreadable: tuple[type[Exception], ...] = (pickle.UnpicklingError, SafetensorError, RuntimeError, OSError)
    unfit: tuple[type[Exception], ...] = (
        *(ValueError, EOFError, LookupError, AttributeError, TypeError, BadZipFile, MemoryError, struct.error),
    )
    try:
        _check_packed(file)
        state: dict[str, Tensor] = _without_wrapping(load_state_dict(str(file)))
        if not all(isinstance(tensor, torch.Tensor) for tensor in state.values()):
            raise TypeError("it holds more than tensors")
        claimed = next((name for name, tensor in state.items() if not _is_held(tensor)), None)
        if claimed is not None:
            raise ValueError(f"{claimed} claims {tuple(state[claimed].shape)}, which the file does not hold")
    except (*unreadable, *unfit) as error:
        raise ModelError(
            f"{file} is neither safetensors nor a checkpoint of tensors alone ({first_line(error)}): save it "
            "anew with torch.save(model.state_dict(), …)"
        ) from error
    check_whole(state, file)
    return state


def _check_packed(file: Path) -> None:
    """Refuse a checkpoint that unpacks to far more than it is: torch packs none, so that is a bomb.

    Raises:
        ValueError: it does.
    """
    if not is_zipfile(file):
        return
    with ZipFile(file) as parts:
        claimed, there = sum(info.file_size for info in parts.infolist()), file.stat().st_size
    if claimed > 2 * there:
        raise ValueError(f"it claims {claimed / 1e6:,.0f} MB and has {there / 1e6:,.1f} MB")


def _is_held(tensor: Tensor) -> bool:
    """Whether a tensor's numbers are all there, and not one number that stands for many, or none."""
    if str(tensor.layout) != "torch.strided" or tensor.device.type == "meta":
        return False
    return tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


def _without_wrapping(state: Any) -> Any:
    """What stands under the usual names of weights in a checkpoint that holds more; timm knows the others."""
    for key in _WRAPPED:
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            return state[key]
    return state


def fill(module: nn.Module, state: Mapping[str, Tensor], file: Path, name: str) -> None:
    """Load ``state``, which comes from ``file``, into the network called ``name``.

    Raises:
        ModelError: it does not fit.
    """
    try:
        module.load_state_dict(fitted(state, module, file))
    except RuntimeError as error:
        reason = unlike(state, module) or first_line(error)
        raise ModelError(
            f"the weights in {file} do not fit {name} ({reason}): name the model they come from"
        ) from error


def cached(hub: str, files: Sequence[str]) -> Path | None:
    """The first of ``files`` of a hub repository, ``owner/name`` or ``owner/name@revision``, in its cache."""
    from huggingface_hub import constants, try_to_load_from_cache

    repository, _, revision = hub.partition("@")
    for file in files:
        found = try_to_load_from_cache(
            repository, file, cache_dir=constants.HF_HUB_CACHE, revision=revision or None
        )
        if isinstance(found, str):
            return Path(found)
    return None


def check_hub(name: str, file: str) -> None:
    """``check_network`` for the hub, which can also be switched off."""
    from huggingface_hub import constants

    check_network(name, file, constants.ENDPOINT, constants.HF_HUB_OFFLINE)


def check_network(name: str, file: str, url: str, offline: bool = False) -> None:
    """Say within seconds that ``url`` cannot be reached; the libraries' own clients would try for a minute.

    Raises:
        ModelError: it cannot, so that ``name`` cannot get the ``file`` it needs.
    """
    host = urlsplit(url)
    if not offline and not urllib.request.getproxies():
        try:
            socket.create_connection((host.hostname, host.port or 443), timeout=5).close()
        except OSError:
            offline = True
    if offline:
        raise ModelError(
            f"{name} needs {file}, which is not on this machine, and the hub cannot be reached: "
            f"{offline_hint()}"
        )


def offline_hint() -> str:
    """What works all the same."""
    given = f"{setting('weights', 'random')}, {setting('weights', 'PATH')}"
    return f"{given} and the default model work without a network"


def first_line(error: BaseException) -> str:
    """What an error says, in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:200].rstrip(".:") or type(error).__name__
