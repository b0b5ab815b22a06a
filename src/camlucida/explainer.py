"""The pipeline: pictures and a model in, Explanations out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, TypedDict, Unpack

import torch
from torch import Tensor, nn

from camlucida import registry
from camlucida.capture import Capture, Reading, capture
from camlucida.errors import OptionError, PictureError
from camlucida.explanation import Explanation, Provenance, versions
from camlucida.heatmap import reduce
from camlucida.images import Size
from camlucida.layers.layout import Layout, layout_of
from camlucida.layers.locate import check_layer, default_layer, prefix_tokens
from camlucida.layers.trace import Record, trace
from camlucida.models.adapter import logits_of
from camlucida.models.embedded import DEFAULT_MODEL
from camlucida.models.load import load, split_layer
from camlucida.models.place import move
from camlucida.prepare import Prepared, batches, listed, prepare, preprocess_named, visible
from camlucida.registry import Entry
from camlucida.targets import PerPicture, Target, resolve

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
        self._versions = versions()
        self.layer = check_layer(self.module, self._asked_layer) if self._asked_layer else None

    def explain(
        self,
        pictures: Any,
        methods: Sequence[str] = ("gradcam",),
        targets: Sequence[Any] = (None,),
        layers: Sequence[str | None] = (None,),
        options: Options | None = None,
    ) -> list[Explanation]:
        """Explanations in the order pictures × layers × methods × targets.

        ``pictures`` is one or a list of: path, PIL picture, uint8 array (height, width[, channels]), or float
        tensor (channels, height, width), which is taken as the model's input as it is; a float tensor
        (batch, channels, height, width) is a batch of those. A target is None for the top class, a class
        index or name, a Target, a callable, or PerPicture. ``options`` gives methods' options by name.

        Raises:
            CamlucidaError: something given does not exist or does not fit; its child says what.
        """
        entries = [registry.entry(name) for name in methods]
        settings = [entry.settings((options or {}).get(entry.name)) for entry in entries]
        prepared = [prepare(picture, self.adapter, self.preprocess) for picture in listed(pictures)]
        rows = [_per_picture(target, self.adapter.labels, len(prepared)) for target in targets]
        if not (prepared and entries and rows and layers):
            raise OptionError("explain needs at least one picture, method, target and layer")
        explanations: list[Explanation] = []
        for start, group in batches(prepared, self.batch_size):
            work = _Work(
                group,
                [self.layer_name(name, group[0].tensor) for name in layers],
                list(zip(entries, settings, strict=True)),
                [row[start : start + len(group)] for row in rows],
            )
            explanations += self._explain_batch(work)
        return explanations

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
            self.layer = default_layer(self.module, self.records(tensor), _size(tensor))
        return self.layer

    def records(self, tensor: Tensor) -> list[Record]:
        """What each of the model's modules takes and returns for an input (channels, height, width)."""
        return trace(self.module, tensor[None])

    def _explain_batch(self, work: _Work) -> list[Explanation]:
        pictures = [one.tensor for one in work.pictures]
        gradients = any("gradients" in entry.needs for entry, _ in work.methods)
        reading = Reading(logits_of, partial(self._layout, _size(pictures[0])))
        caught = capture(self.module, pictures, work.layers, work.targets, reading, gradients)
        with torch.inference_mode(False), torch.no_grad():  # whatever the caller's mode is
            maps = _maps(caught, work.methods)
            probabilities = caught.outputs.float().softmax(dim=1)
        explanations = []
        for i, one in enumerate(work.pictures):
            drawn_on = one.picture or visible(one.tensor, self.adapter)
            for place, m in product(range(len(work.layers)), range(len(work.methods))):
                provenance = self._provenance(work, caught, (place, m), one)
                for t, row in enumerate(caught.bound):
                    index = row[i].index
                    explanations.append(
                        Explanation(
                            heatmap=maps[place, m, t][i],
                            index=index,
                            label=None
                            if index is None or not self.adapter.labels
                            else self.adapter.labels[index],
                            score=float(caught.scores[t][i]),
                            probability=None if index is None else float(probabilities[i, index]),
                            provenance=provenance,
                            frame=one.frame,
                            shown=drawn_on,
                            source=one.source,
                        )
                    )
        return explanations

    def _provenance(self, work: _Work, caught: Capture, which: tuple[int, int], one: Prepared) -> Provenance:
        place, m = which
        entry, settings = work.methods[m]
        return Provenance(
            model=self.adapter.name,
            weights=self.adapter.weights,
            layer=work.layers[place],
            layout=str(caught.layouts[place]),
            method=entry.name,
            options=settings,
            preprocess="none" if one.picture is None else self.preprocess_name,
            versions=self._versions,
        )

    def _layout(self, input_size: Size, name: str, tensor: Tensor) -> Layout:
        maker = self.module.get_submodule(name)
        return layout_of(tuple(tensor.shape), input_size, prefix_tokens(self.module), maker)


@dataclass(frozen=True)
class _Work:
    """One batch: pictures of one input size, layers, methods with their settings, targets per picture."""

    pictures: list[Prepared]
    layers: list[str]
    methods: list[tuple[Entry, dict[str, Any]]]
    targets: list[list[Target]]


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


def _maps(caught: Capture, methods: list[tuple[Entry, dict[str, Any]]]) -> dict[tuple[int, int, int], Tensor]:
    """The raw maps (batch, height, width) float32 by (layer, method, target), each computed once."""
    maps: dict[tuple[int, int, int], Tensor] = {}
    for (place, row), (m, (entry, settings)) in product(enumerate(caught.captured), enumerate(methods)):
        for t, captured in enumerate(row):
            if t and entry.classless:
                maps[place, m, t] = maps[place, m, 0]
                continue
            result = entry.function(*(getattr(captured, need) for need in entry.needs), **settings)
            maps[place, m, t] = (reduce(result) if entry.returns == "contributions" else result).float()
    return maps


def _per_picture(target: Any, labels: Sequence[str] | None, count: int) -> list[Target]:
    """One target for each of ``count`` pictures."""
    if not isinstance(target, PerPicture):
        return [resolve(target, labels)] * count
    return [resolve(one, labels) for one in target.of(count)]


def _size(tensor: Tensor) -> Size:
    return int(tensor.shape[-2]), int(tensor.shape[-1])
