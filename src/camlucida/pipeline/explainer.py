"""The pipeline: pictures and a model in, Explanations out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy as shallow_copy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal
from warnings import warn

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from camlucida.capture.custom_layout import LayoutReader, reading_by
from camlucida.capture.shared_copy import refresh, shared_copy
from camlucida.errors import CamlucidaWarning, OptionError
from camlucida.heatmaps.smoothing import Smooth
from camlucida.layers.inspector import LayerInspector
from camlucida.layers.names import check_layer
from camlucida.models.bundled import DEFAULT_MODEL
from camlucida.models.device import move
from camlucida.models.inputs import (
    ModelInput,
    as_list,
    decoder_of,
    each_of,
    placed,
    with_asked_preprocess,
)
from camlucida.models.load import load, split_layer, with_user_labels
from camlucida.pipeline.batch import explain_batch, not_finite
from camlucida.pipeline.explanation import Explanation
from camlucida.pipeline.explanations import Explanations
from camlucida.pipeline.job import BatchJob
from camlucida.pipeline.prepared_model import PreparedModel
from camlucida.pipeline.request import Layers, Methods, Request, requested
from camlucida.pipeline.settings import Options, cache_key, check_batch_size
from camlucida.pipeline.stream import Outcome, inputs_at_once, outcomes, raised, skipped, until_finite
from camlucida.targets.probabilities import Activation, checked_activation

OnError = Literal["raise", "skip"]


class Explainer(PreparedModel):
    """A model made ready once, to explain many pictures.

    >>> explainer = Explainer("resnet50")  # doctest: +SKIP
    >>> maps = explainer.explain("photos/*.jpg", ["gradcam", "eigencam"], [None, "tabby"])  # doctest: +SKIP
    >>> maps.select(method="eigencam")[0].save("results/first.png")  # doctest: +SKIP

    Args:
        model: a timm name, ``torchvision:NAME``, ``hf:NAME_OR_FOLDER``, ``file.py:factory``, each with
            ``@file`` for weights and ``#layer`` for a layer of choice; or any ``nn.Module``.
        weights: "pretrained", "random" (seeded) or a file; for names only.
        device: "auto" takes the best there is for names and leaves a module where it is.
        dtype: "float32", "float16", …; None keeps the model's own. For names only.
        preprocess: "model" for the checkpoint's own, "tutorial" for the tutorial's, a torchvision Compose, or
            what is to be changed in the checkpoint's own, of {"size": 224, "crop": 0.875,
            "interpolation": "bilinear", "mean": 0.5, "std": 0.5}. It runs in several threads at once.
        batch_size: how many inputs go through the model at once.
        labels: the classes' names: a sequence, or a text or JSON file.
        logits_of: output → logits (batch, classes), where the model returns several tensors.
        args: positional arguments of the model behind its input; a tensor whose first axis is 1 is repeated
            for each picture, one with as many rows as pictures gives each its own.
        kwargs: the same by keyword.
        cache: whether what is found out about the layers of a model given by name is kept on disk.
        reshape: a layer's output → (batch, channels, height, width), in place of the layout found.
        copy: explain a copy that shares the model's weights. While the model itself is borrowed it is in
            evaluation mode for all threads; take a copy where another one trains it meanwhile.
        activation: what makes probabilities of the model's outputs: "softmax", "sigmoid", "none", or "auto",
            which sees whether they are probabilities already.

    Raises:
        ModelError: there is no such model, or its weights cannot be had.
        OptionError: a setting does not fit.
    """

    def __init__(
        self,
        model: str | nn.Module = DEFAULT_MODEL,
        *,
        weights: str | Path = "pretrained",
        device: str | torch.device = "auto",
        dtype: str | torch.dtype | None = None,
        preprocess: Any = "model",
        batch_size: int = 8,
        labels: Any = None,
        logits_of: Callable[[Any], Tensor] | None = None,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        cache: bool = True,
        reshape: Callable[[Tensor], Tensor] | None = None,
        copy: bool = False,
        activation: Activation = "auto",
    ) -> None:
        by_name = isinstance(model, str)
        name: Any
        self._asked_layer: str | None
        name, self._asked_layer = split_layer(model) if isinstance(model, str) else (model, None)
        adapter = with_user_labels(load(name, weights), labels, logits_of)
        if checked_activation(activation) != "auto":
            adapter = replace(adapter, activation=activation)
        self._original = adapter.module
        module = shared_copy(adapter.module) if copy else adapter.module
        move(module, by_name, device, dtype)
        self.adapter = with_asked_preprocess(preprocess, replace(adapter, module=module))
        self.module, self.preprocess = module, self.adapter.preprocess
        self.preprocess_name = preprocess if isinstance(preprocess, str) else "own"
        self.batch_size, self._extra = check_batch_size(batch_size), (tuple(args), dict(kwargs or {}))
        key = cache_key(self.adapter) if cache and by_name else None
        read, embeds = reading_by(reshape), self.adapter.outputs == "embedding"
        self.inspector = LayerInspector(module, self.adapter.logits_of, key, read, embeds)
        if self._asked_layer:
            check_layer(module, self._asked_layer)

    def explain(
        self,
        pictures: Any,
        methods: Methods = ("gradcam",),
        targets: Any = (None,),
        layers: Layers = (None,),
        options: Options | None = None,
        smooth: Smooth | Sequence[Smooth] = (),
        *,
        on_error: OnError = "raise",
    ) -> Explanations:
        """Explanations in the order pictures × layers × methods × targets, each of them one or several.

        Args:
            pictures: one or several of: path, bytes, open file, PIL picture, uint8 array (height, width[,
                channels]), or float tensor (channels, height, width), which is the model's input as it is. A
                float tensor (batch, channels, height, width) is a batch of those; a folder or a pattern such
                as ``cats/*.jpg`` is the pictures in it; a generator is read as it goes.
            methods: names that ``camlucida methods`` lists, or a ``Method`` of your own.
            targets: None for the top class, a class index or name, a Target, a callable, or PerPicture.
            layers: names or modules; "a+b", or a tuple in a list, is the mean of both layers' maps, each scaled
                to its largest magnitude. None is the model's default.
            options: {method: {option: value}}.
            smooth: "aug" (the mean over six views of the picture, mirrored and scaled), "eigen" (the first
                principal component of the channels' contributions, in place of their sum).
            on_error: "skip" warns of a picture that cannot be read or explained, and goes on.

        Raises:
            CamlucidaError: something given does not exist or does not fit; its child says what.
        """
        found = self.stream(pictures, methods, targets, layers, options, smooth, on_error=on_error)
        explanations = Explanations(found)
        if not explanations and on_error == "raise":
            raise OptionError("explain needs at least one picture, got none")
        return explanations

    def stream(
        self,
        pictures: Any,
        methods: Methods = ("gradcam",),
        targets: Any = (None,),
        layers: Layers = (None,),
        options: Options | None = None,
        smooth: Smooth | Sequence[Smooth] = (),
        *,
        on_error: OnError = "raise",
    ) -> Iterator[Explanation]:
        """What ``explain`` returns, one after the other: pictures are decoded ahead and memory stays flat."""
        if on_error not in ("raise", "skip"):
            raise OptionError(f"on_error is 'raise' or 'skip', got {on_error!r}")
        found = self.outcomes(pictures, methods, targets, layers, options, smooth, retry=on_error == "skip")
        return raised(found) if on_error == "raise" else skipped(found, _warn)

    def outcomes(
        self,
        pictures: Any,
        methods: Methods,
        targets: Any,
        layers: Layers,
        options: Options | None,
        smooth: Smooth | Sequence[Smooth],
        *,
        retry: bool = True,
    ) -> Iterator[Outcome]:
        """For each picture its explanations, or the error that it ended in; with ``retry`` others go on."""
        if self.module is not self._original:
            refresh(self.module, self._original)
        by_row = any(
            isinstance(leaf, Tensor) and leaf.ndim and len(leaf) > 1 for leaf in tree_leaves(self._extra)
        )
        if by_row or isinstance(pictures, (list, tuple, Tensor)):
            pictures = as_list(pictures)  # whose number says which tensors have a row for each
        count = len(pictures) if isinstance(pictures, list) else None
        request = requested(self.adapter, self._original, (methods, targets, layers), options, smooth, count)
        explain, blank = partial(self._explain_batch, request, count or 1), partial(self._blank, request)
        size = inputs_at_once(self.batch_size, "aug" in request.smooth)
        decoder = decoder_of(self.adapter, self.preprocess)
        return until_finite(outcomes(each_of(pictures), decoder, explain, blank, size, retry))

    def _explain_batch(self, request: Request, count: int, decoded: list[ModelInput]) -> list[Explanation]:
        """The explanations of one batch, of ``count`` pictures in all."""
        job = self.at_layers(BatchJob([placed(one, self.adapter) for one in decoded], request), count)
        with self.extra_inputs(count):
            return explain_batch(self, job, self.batch_size)

    def _blank(self, request: Request, batch: list[ModelInput]) -> list[Explanation]:
        """Maps of NaN for a batch."""
        names = [self.layer_names(layer, placed(batch[0], self.adapter).tensor) for layer in request.layers]
        return not_finite(self, BatchJob(batch, request, names))

    def with_module(self, module: nn.Module, layer: str | None, read: LayoutReader | None) -> Explainer:
        """The same for a module of the same build; ``layer`` is its default, ``read`` reads its layers."""
        twin = shallow_copy(self)
        twin.adapter, twin.module, twin._original = replace(self.adapter, module=module), module, module
        twin.inspector = LayerInspector(module, self.adapter.logits_of, None, read)
        twin._asked_layer = layer
        return twin


def _warn(outcome: Outcome) -> None:
    warn(CamlucidaWarning(f"picture {outcome.number} is skipped: {outcome.error}"), stacklevel=4)
