"""Networks of torchvision: by name, with its weights, none, or those of a file; and modules made by it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import URLError

from camlucida.errors import ModelError, setting, unknown_name
from camlucida.models.adapter import Adapter
from camlucida.models.preprocessing_steps import no_preprocess, preprocess_of
from camlucida.models.state_dict_keys import classes_in, ends_in
from camlucida.models.weights import SEED, check_network, fill, first_line, load_tensors

if TYPE_CHECKING:
    from torch import Tensor, nn

PREFIX = "torchvision:"
_CLASSES = 1000
_AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")  # heads of GoogLeNet and Inception that only training uses
_WARNING = ("googlenet", "inception_v3")  # unless they are told how to draw their weights
_NEAREST = 3  # how many networks are compared with a module to see which it is


def names() -> list[str]:
    """The classifiers that torchvision has."""
    import torchvision

    return [str(name) for name in torchvision.models.list_models(module=torchvision.models)]


def load(name: str, weights: str) -> Adapter:
    """The network ``name``, or ``name.WEIGHTS`` for other weights than its default ones, as an adapter.

    ``weights`` is "pretrained", "random" (seeded) or a file, whose number of classes the network gets.

    Raises:
        ModelError: there is no such network, or its weights cannot be had.
    """
    chosen = _chosen(name)
    bare_name = name.partition(".")[0]
    if weights == "pretrained":
        module = _pretrained(bare_name, chosen)
    elif weights == "random":
        module = _create(bare_name)
    else:
        module = _of_file(bare_name, Path(weights))
    return adapt(module.eval(), f"{PREFIX}{name}", weights, chosen)


def adapt(module: nn.Module, name: str, weights: str, described: Any) -> Adapter:
    """A torchvision module; ``described`` is the member of its enum of weights that describes it, or None."""
    if described is None:
        return Adapter(module, name, no_preprocess, None, None, None, weights, "torchvision")
    preset = described.transforms()
    side = preset.crop_size[0]
    categories = described.meta.get("categories")
    return Adapter(
        module=module,
        name=name,
        preprocess=preprocess_of(steps_of(preset), source=f"torchvision's {described}"),
        labels=categories if categories and ends_in(module, len(categories), _AUXILIARY) else None,
        input_size=(3, side, side),
        normalisation=(tuple(preset.mean), tuple(preset.std)),
        weights=weights,
        library="torchvision",
    )


def recognises(module: nn.Module) -> bool:
    """Whether this is one of torchvision's classifiers: they lie side by side in ``torchvision.models``."""
    return re.fullmatch(r"torchvision\.models\.\w+", type(module).__module__) is not None


def adapt_own(module: nn.Module) -> Adapter:
    """A torchvision module that somebody made, with the preprocessing of the network that it is."""
    name = _name_of(module)
    described = None if name is None else _chosen(name)
    return adapt(module, name or type(module).__name__, "own", described)


def is_preset(transform: Any) -> bool:
    """Whether this is what ``weights.transforms()`` returns for a classifier."""
    kind = type(transform)
    return kind.__module__.startswith("torchvision.transforms.") and kind.__name__ == "ImageClassification"


def steps_of(preset: Any) -> Any:
    """A preset as a Compose of the very steps that it takes."""
    import torch
    from torchvision import transforms

    return transforms.Compose(
        [
            transforms.Resize(preset.resize_size, preset.interpolation, antialias=preset.antialias),
            transforms.CenterCrop(preset.crop_size),
            transforms.PILToTensor(),
            transforms.ConvertImageDtype(torch.float),
            transforms.Normalize(preset.mean, preset.std),
        ]
    )


def _chosen(name: str) -> Any:
    """The weights that ``name`` or ``name.WEIGHTS`` means, as a member of torchvision's enum."""
    import torchvision

    network, _, tag = name.partition(".")
    if network not in names():
        raise ModelError(
            unknown_name("torchvision model", network, names(), "`camlucida models` lists timm's names")
        )
    enum = torchvision.models.get_model_weights(network)
    if not tag:
        return enum.DEFAULT
    if tag not in enum.__members__:
        raise ModelError(unknown_name(f"weights of {network},", tag, list(enum.__members__), "omit them"))
    return enum[tag]


def _create(name: str, **arguments: Any) -> nn.Module:
    """The network with the weights that training starts with, the same ones every time."""
    import torch
    import torchvision

    if name in _WARNING:
        arguments["init_weights"] = True
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(SEED)  # the CPU's alone
        module: nn.Module = torchvision.models.get_model(name, weights=None, **arguments)
    return module


def _pretrained(name: str, weights: Any) -> nn.Module:
    import torchvision
    from torch.hub import get_dir

    if not (Path(get_dir()) / "checkpoints" / Path(weights.url).name).is_file():
        check_network(f"{PREFIX}{name}", weights.url, weights.url)
    try:
        module: nn.Module = torchvision.models.get_model(name, weights=weights, progress=False)
    except (URLError, OSError, RuntimeError) as error:
        raise ModelError(
            f"torchvision cannot get {weights.url} ({first_line(error)}): try again, or use "
            f"{setting('weights', 'random')} or {setting('weights', 'PATH')}"
        ) from error
    return module


def _of_file(name: str, file: Path) -> nn.Module:
    state = load_tensors(file)
    module = _create(name)
    classes = classes_in(state, module, _CLASSES)
    if classes != _CLASSES:
        module = _create(name, num_classes=classes)
    fill(module, _with_auxiliary(state, module), file, f"{PREFIX}{name}")
    return module


def _with_auxiliary(state: Mapping[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    """``state`` with the auxiliary heads of ``module``: whether a file has them does not matter."""
    own = {key: tensor for key, tensor in module.state_dict().items() if key.startswith(_AUXILIARY)}
    return own | {key: tensor for key, tensor in state.items() if not key.startswith(_AUXILIARY)}


def _name_of(module: nn.Module) -> str | None:
    """What torchvision calls this network, None where it has none just so.

    Networks of the same source file are built without memory for weights and compared: every tensor outside
    the head has to be there in the same shape, and no other. The head may be anybody's.
    """
    import torchvision

    def distance(name: str) -> int:
        return abs(int(torchvision.models.get_model_weights(name).DEFAULT.meta["num_params"]) - parameters)

    file = type(module).__module__
    kin = [name for name in names() if torchvision.models.get_model_builder(name).__module__ == file]
    parameters = sum(parameter.numel() for parameter in module.parameters())
    shapes = _shapes(module)
    for name in sorted(kin, key=distance)[:_NEAREST]:
        with _hollow():
            known = _shapes(_create(name))
        heads = {key.partition(".")[0] for key, shape in known.items() if shape[:1] == (_CLASSES,)}
        if _without(known, heads) == _without(shapes, heads):
            return name
    return None


def _hollow() -> AbstractContextManager[Any]:
    """Tensors that ``torch.empty`` makes, as all weights are, get no memory meanwhile.

    Not ``torch.device("meta")``: RegNet calculates its widths with tensors.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    class Hollow(TorchFunctionMode):
        def __torch_function__(self, function: Any, _types: Any, arguments: Any = (), named: Any = None) -> Any:
            elsewhere = {"device": "meta"} if function is torch.empty else {}
            return function(*arguments, **{**(named or {}), **elsewhere})

    return Hollow()


def _shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def _without(shapes: Mapping[str, tuple[int, ...]], heads: set[str]) -> dict[str, tuple[int, ...]]:
    """The shapes of what is no part of ``heads``, auxiliary or not."""
    parts = heads | {auxiliary.rstrip(".") for auxiliary in _AUXILIARY}
    return {name: shape for name, shape in shapes.items() if name.partition(".")[0] not in parts}
