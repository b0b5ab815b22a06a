"""Image classifiers of Hugging Face's transformers: from the hub, from a folder, and modules made by it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from camlucida.errors import ModelError
from camlucida.files import is_folder
from camlucida.models.adapter import Adapter
from camlucida.models.classifier_head import head_of
from camlucida.models.image_processor import configured_size, normalisation_of, processed_by, processed_size
from camlucida.models.preprocessing_steps import no_preprocess
from camlucida.models.state_dict_keys import classes_in, fitted, merge_hint
from camlucida.models.weights import HUB_FILES, SEED, cached, check_hub, first_line, load_tensors

if TYPE_CHECKING:
    from torch import nn

PREFIX = "hf:"
_WEIGHTS = (*HUB_FILES, *(f"{file}.index.json" for file in HUB_FILES))
_PROCESSORS = ("preprocessor_config.json", "processor_config.json")
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError)


def load(source: str, weights: str) -> Adapter:
    """The classifier in a folder, or of a hub repository ``owner/name`` or ``owner/name@revision``.

    ``weights`` is "pretrained", "random" (seeded) or a file, whose number of classes the network gets.

    Raises:
        ModelError: there is no such classifier, its weights cannot be had, or transformers is not installed.
    """
    _check_source(source)
    name = f"{PREFIX}{source}"
    if weights == "pretrained":
        module = _pretrained(source)
    elif weights == "random":
        module = _random(name, _config(source))
    else:
        module = _of_file(name, _config(source), Path(weights))
    return adapt(module.eval(), name, weights, _processor(source))


def recognises(module: nn.Module) -> bool:
    """Whether this is a model of transformers, or a class made from one; without importing transformers."""
    return any(
        (kind.__module__, kind.__name__) == ("transformers.modeling_utils", "PreTrainedModel")
        for kind in type(module).__mro__
    )


def adapt_own(module: nn.Module) -> Adapter:
    """A model of transformers that somebody made, with the processor of where it came from, if that is here.

    Raises:
        ModelError: it reads text too.
    """
    if "input_ids" in inspect.signature(module.forward).parameters:
        raise ModelError(
            f"{type(module).__name__} also takes text, but a classifier takes a picture alone: pass its vision "
            "part with a classification head, or wrap it in a module that holds the tokens"
        )
    config: Any = module.config
    source = str(getattr(config, "name_or_path", "") or "")
    known = bool(source) and (is_folder(Path(source)) or _is_hub_name(source))
    processor = _processor(source, ask=False) if known else None
    return adapt(module, Path(source).name or type(module).__name__, "own", processor)


def adapt(module: nn.Module, name: str, weights: str, processor: Any) -> Adapter:
    """A model of transformers with its image processor, None where it has none."""
    config: Any = module.config
    channels = int(getattr(config, "num_channels", 3))
    said = f"the image processor of {name}"
    preprocess = no_preprocess if processor is None else processed_by(processor, channels, said)
    size = configured_size(config) if processor is None else processed_size(processor, channels)
    return Adapter(
        module=module,
        name=name,
        preprocess=preprocess,
        labels=_labels(config),
        input_size=None if size is None else (channels, *size),
        normalisation=None if processor is None else normalisation_of(processor, channels),
        weights=weights,
        library="transformers",
        **head_of(module),
    )


def _labels(config: Any) -> Sequence[str] | None:
    names = {int(index): str(label) for index, label in (getattr(config, "id2label", None) or {}).items()}
    return [names[index] for index in sorted(names)] if names and max(names) == len(names) - 1 else None


def _check_source(source: str) -> None:
    """Refuse what is neither a folder with a model nor a name that the hub could know, or cannot be read."""
    try:
        import transformers  # noqa: F401
    except ImportError as error:
        raise ModelError(
            f"{PREFIX}{source} is a model of transformers, which is not installed: pip install camlucida[hf]"
        ) from error
    folder = Path(source or "/no name")
    if is_folder(folder) and (folder / "adapter_config.json").is_file():
        raise ModelError(
            f"{folder} holds an adapter of peft (adapter_config.json) and no whole model: {merge_hint()}"
        )
    if is_folder(folder) and not (folder / "config.json").is_file():
        raise ModelError(f"{folder} has no config.json: give a folder that save_pretrained(…) wrote")
    if not is_folder(folder) and not _is_hub_name(source):
        raise ModelError(
            f"{PREFIX} takes a folder that save_pretrained(…) wrote or the name of a hub repository, such as "
            f"{PREFIX}google/vit-base-patch16-224, and {source!r} is neither"
        )


def _is_hub_name(source: str) -> bool:
    return re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?(@[\w./-]+)?", source) is not None


def _place(source: str, *wanted: Sequence[str]) -> dict[str, Any]:
    """Where ``from_pretrained`` finds ``source``: here if there is one of each of the ``wanted`` files.

    Raises:
        ModelError: something is not here, and the hub cannot be reached.
    """
    if Path(source).is_dir():
        return {"pretrained_model_name_or_path": source, "local_files_only": True}
    missing = [files[0] for files in wanted if cached(source, files) is None]
    if missing:
        check_hub(f"{PREFIX}{source}", f"{missing[0]} of {source}")
    repository, _, revision = source.partition("@")
    return {
        "pretrained_model_name_or_path": repository,
        "revision": revision or "main",
        "local_files_only": not missing,
    }


def _config(source: str) -> Any:
    from transformers import AutoConfig

    place = _place(source, ("config.json",))
    with _described(f"{PREFIX}{source}"):
        config: Any = AutoConfig.from_pretrained(**place, trust_remote_code=False)
    config.architectures = config.architectures or []  # None stops transformers where a family has two heads
    return config


def _pretrained(source: str) -> nn.Module:
    from transformers import AutoModelForImageClassification

    place = _place(source, ("config.json",), _WEIGHTS)
    name = f"{PREFIX}{source}"
    with _described(name), _quiet(place["local_files_only"]):
        module: nn.Module
        module, found = AutoModelForImageClassification.from_pretrained(
            **place, trust_remote_code=False, output_loading_info=True
        )
    missing = sorted(found["missing_keys"])
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ModelError(
            f"{name} has no weights for {missing[0]}{more}, which would be random: it is no trained "
            "classifier, so name one that was fine-tuned from it"
        )
    return module


def _random(name: str, config: Any) -> nn.Module:
    """The network with the weights that training starts with, the same ones every time."""
    import torch
    from transformers import AutoModelForImageClassification

    with _described(name), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(SEED)  # the CPU's alone
        module: nn.Module = AutoModelForImageClassification.from_config(config, trust_remote_code=False)
    return module


def _of_file(name: str, config: Any, file: Path) -> nn.Module:
    state = load_tensors(file)
    module = _random(name, config)
    classes = classes_in(state, module, config.num_labels)
    if classes != config.num_labels:
        config.num_labels = classes
        module = _random(name, config)
    state = dict(fitted(state, module, file))
    with _described(name), _quiet(True):  # which knows other names that the same tensors have had
        kind: Any = type(module)
        filled: nn.Module
        filled, found = kind.from_pretrained(None, config=config, state_dict=state, output_loading_info=True)
    wrong = sorted({*found["missing_keys"], *found["unexpected_keys"], *found["mismatched_keys"]})
    if wrong:
        raise ModelError(
            f"the weights in {file} do not fit {name} ({len(wrong)} tensors are missing or too many, such as "
            f"{wrong[0]}): name the model they come from"
        )
    return filled


def _processor(source: str, ask: bool = True) -> Any:
    """The image processor that comes with a model, None where none does or it cannot be had.

    Unless it may ``ask`` the hub, what is here has to do.
    """
    from transformers import AutoImageProcessor

    try:
        place = _place(source, *([_PROCESSORS] if ask else []))
    except ModelError:  # some, such as timm's, need no file of their own
        place = _place(source)
    try:
        with _quiet(True):
            return AutoImageProcessor.from_pretrained(**place, trust_remote_code=False)
    except _UNREADABLE:
        return None


@contextmanager
def _described(name: str) -> Iterator[None]:
    """What transformers refuses, in one line."""
    try:
        yield
    except _UNREADABLE as error:
        why = f"transformers cannot make an image classifier of {name} ({first_line(error)})"
        raise ModelError(f"{why}: name another, or make it yourself and give the module") from error


@contextmanager
def _quiet(wanted: bool) -> Iterator[None]:
    """Silence transformers on stderr, unless it downloads, when its progress bars are of use."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    if wanted:
        logging.set_verbosity_error()
        logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if wanted and bars:
            logging.enable_progress_bar()
