"""The pipeline: pictures and a model in, Explanations out."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from copy import copy
from dataclasses import replace
from functools import partial
from typing import Any, Unpack, cast

from torch import Tensor, nn

from camlucida.capture.capture import OutputReaders
from camlucida.capture.custom_layout import LayoutReader, reading_by
from camlucida.capture.extra_inputs import extra_inputs, rows_in_batch
from camlucida.capture.shared_copy import refresh, shared_copy
from camlucida.errors import NotFinite, OptionError, PictureError, TargetError
from camlucida.findings import Finding
from camlucida.heatmaps.smoothing import Smooth, checked
from camlucida.layers.inspector import LayerInspector
from camlucida.layers.operation_layouts import operation_layouts
from camlucida.methods import registry
from camlucida.models.bundled import DEFAULT_MODEL
from camlucida.models.device import move
from camlucida.models.inputs import as_list, batches, prepare, with_asked_preprocess
from camlucida.models.load import load, split_layer, with_user_labels
from camlucida.pipeline.arguments import layer_named, options_by_method, options_of, several, targets_of
from camlucida.pipeline.batch import explain_batch, not_finite
from camlucida.pipeline.batch_maps import PreparedModel
from camlucida.pipeline.explanation import Explanation
from camlucida.pipeline.job import BatchJob
from camlucida.pipeline.settings import ExplainSettings, Options, Settings, cache_key, checked_settings
from camlucida.targets.base import TopClass
from camlucida.targets.resolve import for_pictures


class Explainer:
    """A model made ready once, to explain many pictures.

    Args:
        model: a timm name, ``torchvision:NAME``, ``hf:NAME_OR_FOLDER``, ``file.py:factory``, each with
            ``@file`` for weights and ``#layer`` for a layer of choice; or any ``nn.Module``.
        settings: by keyword, any of

            - ``weights``: "pretrained", "random" (seeded) or a file; for names only.
            - ``device``: "auto" takes the best there is for names and leaves a module where it is.
            - ``dtype``: "float32", "float16", …; None keeps the model's own. For names only.
            - ``preprocess``: "model" for the checkpoint's own, "tutorial" for the tutorial's, a torchvision
              Compose, or what is to be changed in the checkpoint's own, of {"size": 224, "crop": 0.875,
              "interpolation": "bilinear", "mean": 0.5, "std": 0.5}.
            - ``batch_size``: how many pictures go through the model at once (8).
            - ``labels``: the classes' names: a sequence, or a text or JSON file.
            - ``logits_of``: output → logits (batch, classes), where the model returns several tensors.
            - ``args`` and ``kwargs``: what the model takes beside the picture; a tensor whose first axis is 1
              is repeated for each picture, one with as many rows as pictures gives each its own.
            - ``cache``: whether what is found out about the layers of a model given by name is kept on disk.
            - ``reshape``: a layer's output → (batch, channels, height, width), in place of what would be found.
            - ``copy``: explain a copy that shares the model's weights. While the model itself is lent it is in
              evaluation mode for all threads; take a copy where another one trains it meanwhile.
            - ``activation``: what makes probabilities of the model's outputs: "softmax", "sigmoid", "none", or
              "auto", which sees whether they are probabilities already.

    Raises:
        ModelError: there is no such model, or its weights cannot be had.
        OptionError: there is no such setting, or it does not fit.
    """

    def __init__(self, model: str | nn.Module = DEFAULT_MODEL, **settings: Unpack[Settings]) -> None:
        chosen = checked_settings(settings)
        name: Any
        self._asked_layer: str | None
        name, self._asked_layer = split_layer(model) if isinstance(model, str) else (model, None)
        adapter = load(name, chosen["weights"])
        self.adapter = with_user_labels(adapter, chosen["labels"], chosen["logits_of"])
        if chosen["activation"] != "auto":
            self.adapter = replace(self.adapter, activation=chosen["activation"])
        self._original = self.adapter.module
        if chosen["copy"]:
            self.adapter = replace(self.adapter, module=shared_copy(self.adapter.module))
        self.module = self.adapter.module
        move(self.module, isinstance(model, str), chosen["device"], chosen["dtype"])
        self.preprocess_name = chosen["preprocess"] if isinstance(chosen["preprocess"], str) else "own"
        self.adapter = with_asked_preprocess(chosen["preprocess"], self.adapter)
        self.preprocess = self.adapter.preprocess
        self.batch_size, self._given = chosen["batch_size"], (chosen["args"], chosen["kwargs"])
        key = cache_key(self.adapter) if chosen["cache"] and isinstance(model, str) else None
        read, embeds = reading_by(chosen["reshape"]), self.adapter.outputs == "embedding"
        self.known = LayerInspector(self.module, self.adapter.logits_of, key, read, embeds)
        if self._asked_layer:
            self.known.check(self._asked_layer)

    def explain(
        self,
        pictures: Any,
        methods: str | registry.Method | Sequence[str | registry.Method] = ("gradcam",),
        targets: Any = (None,),
        layers: str | nn.Module | Sequence[str | nn.Module | None] | None = (None,),
        options: Options | None = None,
        smooth: Smooth | Sequence[Smooth] = (),
    ) -> list[Explanation]:
        """Explanations in the order pictures × layers × methods × targets, each of them one or a list.

        ``pictures`` is one or a list of: path, bytes, open file, PIL picture, uint8 array (height, width[,
        channels]), or float tensor (channels, height, width), which is taken as the model's input as it is; a
        float tensor (batch, channels, height, width) is a batch of those. A target is None for the top class, a
        class index or name, a Target, a callable, or PerPicture. A method is a name that ``camlucida methods``
        lists, or a ``registry.Entry`` of your own; ``options`` gives methods' options by name.
        A layer "a+b" is the mean of both layers' maps, each scaled to its largest magnitude. ``smooth`` takes
        "aug" (the mean over six views of the picture, mirrored and scaled) and "eigen" (the first principal
        component of the channels' contributions, in place of their sum).

        Raises:
            CamlucidaError: something given does not exist or does not fit; its child says what.
        """
        if self.module is not self._original:
            refresh(self.module, self._original)
        entries = [
            registry.get_method(method) if isinstance(method, str) else method for method in several(methods)
        ]
        settings = options_by_method(entries, options)
        targets, smooth = targets_of(targets), several(smooth)
        asked = [layer_named(self._original, one) or self._asked_layer for one in several(layers)]
        prepared = [
            replace(prepare(picture, self.adapter, self.preprocess), number=number)
            for number, picture in enumerate(as_list(pictures))
        ]
        self._check_targets(targets)
        known = (self.adapter.labels, len(prepared), self.adapter.activation)
        rows = [for_pictures(target, *known) for target in targets]
        ways = checked(smooth)
        if not (prepared and entries and rows and asked):
            raise OptionError("explain needs at least one picture, method, target and layer")
        return self._explained(
            BatchJob(prepared, [], list(zip(entries, settings, strict=True)), rows, ways), asked
        )

    def _explained(self, work: BatchJob, asked: Sequence[str | None]) -> list[Explanation]:
        """The explanations of all pictures, batch by batch, at the layers ``asked`` for."""
        ready = PreparedModel(self.adapter, self.preprocess_name, self._reading)
        explanations: list[Explanation] = []
        count, bad = len(work.pictures), 0  # pictures of batches that give nothing but NaN
        for start, group in batches(work.pictures, self.batch_size):
            part = self._at_layers(work.part(start, len(group)), asked, (start, count))
            with self.extra_inputs(count):
                try:
                    explanations += explain_batch(ready, part)
                except NotFinite:
                    bad += len(group)
                    if bad == count:
                        raise
                    explanations += [one for alone in part.split(1) for one in not_finite(ready, alone)]
        return explanations

    def _at_layers(self, work: BatchJob, asked: Sequence[str | None], which: tuple[int, int]) -> BatchJob:
        """The work with its layers found, and what there is to know of them.

        ``which`` are the number of its first picture, and how many pictures there are in all batches.
        """
        start, count = which
        with self.extra_inputs(count), rows_in_batch([start]):
            names = [self.layer_names(name, work.pictures[0].tensor) for name in asked]
        chosen = [layer for named, layer in zip(asked, names, strict=True) if named is None]
        parts = frozenset(layer for layer in chosen if len(layer) > 1)
        work = replace(work, layers=names, parts=parts)
        with self.extra_inputs(count), rows_in_batch([start]):
            return replace(work, layer_findings=self._notes(work, asked))

    def _notes(self, work: BatchJob, layers: Sequence[str | None]) -> dict[str, tuple[Finding, ...]]:
        """What there is to know of the work's layers, of which those not named were chosen here."""
        like = work.pictures[0].tensor
        rows = zip(layers, work.layers, strict=True)
        chosen = {name for asked, names in rows if asked is None for name in names}
        by_default = [name for name in work.names if name in chosen]
        named = [name for name in work.names if name not in chosen]
        findings = self.known.verify(by_default, like, work.needs)
        return findings | self.known.verify(named, like, work.needs, chosen=False)

    def _check_targets(self, targets: Sequence[Any]) -> None:
        """Refuse the top class of an embedding.

        Raises:
            TargetError: it is asked for.
        """
        if self.adapter.outputs == "embedding" and any(
            target is None or isinstance(target, TopClass) for target in targets
        ):
            raise TargetError(
                f"{self.adapter.name} returns an embedding, which has no top class: give a target, such as "
                "lambda embedding: embedding @ reference, with that of another picture"
            )

    @property
    def title(self) -> str:
        """The model, and the layer if one was asked for."""
        return f"{self.adapter.name}#{self._asked_layer}" if self._asked_layer else self.adapter.name

    @property
    def layer(self) -> str | None:
        """The layer named with the model, None for its default."""
        return self._asked_layer

    def layer_names(self, name: str | None, tensor: Tensor) -> tuple[str, ...]:
        """The layers in ``name``, which may be "a+b"; for None the model's default, found out once.

        ``tensor`` is an input (channels, height, width) to run the model on.

        Raises:
            LayerError: there is no such layer, or no default.
        """
        name = name or self._asked_layer
        if name is None:
            return tuple(self.known.default(tensor).verdicts)
        return tuple(self.known.check(one) for one in name.split("+"))

    def with_module(self, module: nn.Module, layer: str | None, read: LayoutReader | None) -> Explainer:
        """The same for a module of the same build; ``layer`` is looked at unless told, ``read`` reads it."""
        with_module = copy(self)
        with_module.adapter, with_module.module, with_module._original = (
            replace(self.adapter, module=module),
            module,
            module,
        )
        with_module.known = LayerInspector(module, self.adapter.logits_of, None, read)
        with_module._asked_layer = layer
        return with_module

    def extra_inputs(self, pictures: int = 1) -> AbstractContextManager[None]:
        """While entered, the model gets whatever it takes beside the ``pictures``."""
        return extra_inputs(self.module, *self._given, pictures, self.known.manner.recording)

    def _reading(self, like: Tensor) -> OutputReaders:
        layout_of, grid_of = partial(self.known.layout_of, like), operation_layouts(self.known, like)
        single, strides = self.known.manner.single, self.known.strides
        return OutputReaders(self.adapter.logits_of, layout_of, grid_of, single=single, strides=strides)


def explain(
    picture: Any,
    model: str | nn.Module = DEFAULT_MODEL,
    method: str = "gradcam",
    target: Any = None,
    layer: str | nn.Module | None = None,
    **settings: Unpack[ExplainSettings],
) -> Explanation:
    """Where ``model`` looked in one ``picture``; ``settings`` are those of ``Explainer`` and two more.

    These are ``options``, the method's own, {option: value}, and ``smooth`` as for ``Explainer.explain``.

    For several pictures, methods, targets or layers of one model use ``Explainer``: it loads the model once.
    """
    own, smooth = options_of(method, settings.pop("options", None)), settings.pop("smooth", ())
    explainer = Explainer(model, **cast("Settings", settings))
    explanations = explainer.explain(picture, [method], [target], [layer], own, smooth)
    if len(explanations) != 1:
        raise PictureError(
            f"explain takes one picture, got {len(explanations)}: use Explainer(model).explain(pictures)"
        )
    return explanations[0]
