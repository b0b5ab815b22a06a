"""The pipeline: pictures and a model in, Explanations out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypedDict, Unpack

import torch
from torch import Tensor, nn

from camlucida import registry
from camlucida.batch import Ready, explain_batch, size_of
from camlucida.capture import Reading
from camlucida.errors import OptionError, PictureError
from camlucida.explanation import Explanation
from camlucida.images import Size
from camlucida.layers.layout import Layout, grid_of, layout_of
from camlucida.layers.locate import check_layer, default_layer, prefix_tokens
from camlucida.layers.trace import Record, trace
from camlucida.models.adapter import logits_of
from camlucida.models.embedded import DEFAULT_MODEL
from camlucida.models.load import load, split_layer
from camlucida.models.place import move
from camlucida.prepare import batches, listed, prepare, preprocess_named
from camlucida.smoothing import Smooth, checked
from camlucida.targets import for_pictures
from camlucida.work import Work

Options = Mapping[str, Mapping[str, Any]]  # method → option → value


class Settings(TypedDict, total=False):
    """What ``Explainer`` takes beside the model."""

    weights: str | Path
    device: str | torch.device
    dtype: str | torch.dtype | None
    preprocess: Any
    batch_size: int


class Explainer:
    """A model made ready once, to explain many pictures.

    Args:
        model: a timm name, ``model#layer`` for a layer other than the default, or any ``nn.Module``.
        weights: "pretrained", "random" (seeded) or a file; for names only.
        device: "auto" takes the best there is for names and leaves a module where it is.
        dtype: "float32", "float16", …; None keeps the model's own. For names only.
        preprocess: "model" for the checkpoint's own, "tutorial" for the tutorial's, or a torchvision Compose.
        batch_size: how many pictures go through the model at once.

    Raises:
        ModelError: there is no such model, or its weights cannot be had.
    """

    def __init__(
        self,
        model: str | nn.Module = DEFAULT_MODEL,
        weights: str | Path = "pretrained",
        device: str | torch.device = "auto",
        dtype: str | torch.dtype | None = None,
        preprocess: Any = "model",
        batch_size: int = 8,
    ) -> None:
        if batch_size < 1:
            raise OptionError(f"batch_size is at least 1, got {batch_size}")
        name: Any
        self._asked_layer: str | None
        name, self._asked_layer = split_layer(model) if isinstance(model, str) else (model, None)
        self.adapter = load(name, weights)
        self.module = self.adapter.module
        move(self.module, isinstance(model, str), device, dtype)
        self.preprocess_name = preprocess if isinstance(preprocess, str) else "own"
        self.preprocess = preprocess_named(preprocess, self.adapter)
        self.batch_size = batch_size
        self.layer = check_layer(self.module, self._asked_layer) if self._asked_layer else None

    def explain(
        self,
        pictures: Any,
        methods: Sequence[str] = ("gradcam",),
        targets: Sequence[Any] = (None,),
        layers: Sequence[str | None] = (None,),
        options: Options | None = None,
        smooth: Sequence[Smooth] = (),
    ) -> list[Explanation]:
        """Explanations in the order pictures × layers × methods × targets.

        ``pictures`` is one or a list of: path, PIL picture, uint8 array (height, width[, channels]), or float
        tensor (channels, height, width), which is taken as the model's input as it is; a float tensor
        (batch, channels, height, width) is a batch of those. A target is None for the top class, a class
        index or name, a Target, a callable, or PerPicture. ``options`` gives methods' options by name.
        A layer "a+b" is the mean of both layers' maps, each scaled to its largest value. ``smooth`` takes "aug"
        (the mean over six views of the picture, mirrored and scaled) and "eigen" (the first principal component
        of the channels' contributions, in place of their sum).

        Raises:
            CamlucidaError: something given does not exist or does not fit; its child says what.
        """
        entries = [registry.entry(name) for name in methods]
        settings = [entry.settings((options or {}).get(entry.name)) for entry in entries]
        prepared = [prepare(picture, self.adapter, self.preprocess) for picture in listed(pictures)]
        rows = [for_pictures(target, self.adapter.labels, len(prepared)) for target in targets]
        ways = checked(smooth)
        if not (prepared and entries and rows and layers):
            raise OptionError("explain needs at least one picture, method, target and layer")
        ready = Ready(self.adapter, self.preprocess_name, self._reading)
        explanations: list[Explanation] = []
        for start, group in batches(prepared, self.batch_size):
            work = Work(
                group,
                [self._layer_names(name, group[0].tensor) for name in layers],
                list(zip(entries, settings, strict=True)),
                [row[start : start + len(group)] for row in rows],
                ways,
            )
            explanations += explain_batch(ready, work)
        return explanations

    def _layer_names(self, name: str | None, tensor: Tensor) -> tuple[str, ...]:
        names: Sequence[str | None] = name.split("+") if name else [None]
        return tuple(self.layer_name(one, tensor) for one in names)

    @property
    def title(self) -> str:
        """The model, and the layer if one was asked for."""
        return f"{self.adapter.name}#{self._asked_layer}" if self._asked_layer else self.adapter.name

    def layer_name(self, name: str | None, tensor: Tensor) -> str:
        """``name`` if there is such a layer; for None the model's default, found once.

        ``tensor`` is an input (channels, height, width) to run the model on.
        """
        if name is not None:
            return check_layer(self.module, name)
        if self.layer is None:
            self.layer = default_layer(self.module, self.records(tensor), size_of(tensor))
        return self.layer

    def records(self, tensor: Tensor) -> list[Record]:
        """What each of the model's modules takes and returns for an input (channels, height, width)."""
        return trace(self.module, tensor[None])

    def _reading(self, size: Size, batch: int) -> Reading:
        return Reading(logits_of, partial(self._layout, size), partial(self._grid, size, batch))

    def _grid(self, size: Size, batch: int, tensor: Tensor, channels_last: bool) -> Layout | None:
        return grid_of(tuple(tensor.shape), batch, size, prefix_tokens(self.module), channels_last)

    def _layout(self, input_size: Size, name: str, tensor: Tensor) -> Layout:
        maker = self.module.get_submodule(name)
        return layout_of(tuple(tensor.shape), input_size, prefix_tokens(self.module), maker)


def explain(
    picture: Any,
    model: str | nn.Module = DEFAULT_MODEL,
    method: str = "gradcam",
    target: Any = None,
    layer: str | None = None,
    **settings: Unpack[Settings],
) -> Explanation:
    """Where ``model`` looked in one ``picture``; ``settings`` are those of ``Explainer``.

    For several pictures, methods, targets or layers of one model use ``Explainer``: it loads the model once.
    """
    explainer = Explainer(model, **settings)
    explanations = explainer.explain(picture, [method], [target], [layer])
    if len(explanations) != 1:
        raise PictureError(
            f"explain takes one picture, got {len(explanations)}: use Explainer(model).explain(pictures)"
        )
    return explanations[0]


def _size(tensor: Tensor) -> Size:
    return int(tensor.shape[-2]), int(tensor.shape[-1])
