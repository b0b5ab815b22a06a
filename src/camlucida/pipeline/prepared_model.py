"""A model with its layers, readers and extra inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from camlucida.capture.borrow import borrowed
from camlucida.capture.capture import capturing
from camlucida.capture.captures import BatchCapture, OutputReaders
from camlucida.capture.extra_inputs import add_extra_inputs, extra_inputs, rows_in_batch
from camlucida.layers.names import layers_named
from camlucida.layers.operation_layouts import operation_layouts
from camlucida.methods.registry import NO_PAPER, Method
from camlucida.models.inputs import as_list, prepare
from camlucida.pipeline.job import BatchJob
from camlucida.pipeline.request import Layers, Methods, requested

if TYPE_CHECKING:
    from camlucida.findings import Finding
    from camlucida.layers.inspector import LayerInspector
    from camlucida.models.adapter import Adapter
    from camlucida.models.preprocessing_recipe import Preprocess
    from camlucida.pipeline.settings import Options


class PreparedModel:
    """What an Explainer knows of its model; batches are explained by this alone."""

    adapter: Adapter
    module: nn.Module
    inspector: LayerInspector
    preprocess: Preprocess
    preprocess_name: str
    _original: nn.Module
    _asked_layer: str | None
    _extra: tuple[Sequence[Any], Mapping[str, Any]]

    @contextmanager
    def session(self) -> Iterator[None]:
        """While entered, the model stays borrowed, so that many calls cost no more than one.

        The model is given back at the end exactly as it was; until then it is in evaluation mode, and no other
        thread explains anything.
        """
        with borrowed(self.module):
            add_extra_inputs(self.module)
            yield

    def capture(
        self, inputs: Any, layers: Layers = (None,), targets: Any = (None,), *, gradients: bool = True
    ) -> BatchCapture:
        """The model's outputs, and the activations and gradients of layers, for one batch.

        ``inputs`` are pictures or float tensors as for ``explain``, of one input size. Of the result,
        ``outputs`` are the logits (batch, classes), and ``capture["layer4"][t]`` has the ``activations`` and,
        for target t, the ``gradients`` of a layer, (batch, channels, height, width) whatever the network.

        Raises:
            CamlucidaError: something given does not exist or does not fit.
        """
        needs = ("activations", "gradients")[: 1 + gradients]
        method = Method("capture", _nothing, "own", needs, {}, NO_PAPER)
        with self.capturing(inputs, [method], targets, layers) as (_, capture):
            return replace(capture, findings=lambda *_: ())

    @contextmanager
    def capturing(
        self,
        inputs: Any,
        methods: Methods,
        targets: Any = (None,),
        layers: Layers = (None,),
        options: Options | None = None,
    ) -> Iterator[tuple[BatchJob, BatchCapture]]:
        """All that methods need of the model for one batch; while entered, they can run it again."""
        pictures = as_list(inputs)
        asked = (methods, targets, layers)
        request = requested(self.adapter, self._original, asked, options, (), len(pictures))
        prepared = [
            replace(prepare(one, self.adapter, self.preprocess), number=i) for i, one in enumerate(pictures)
        ]
        job = self.at_layers(BatchJob(prepared, request), len(pictures))
        tensors, rows = job.tensors(), job.targets(self.adapter.activation)
        with (
            self.extra_inputs(len(pictures)),
            capturing(self.module, tensors, job.names, rows, self.readers(tensors[0]), request.needs) as found,
        ):
            yield job, found

    @property
    def title(self) -> str:
        """The model, and the layer if one was named with it."""
        return f"{self.adapter.name}#{self._asked_layer}" if self._asked_layer else self.adapter.name

    @property
    def layer(self) -> str | None:
        """The layer named with the model, None for its default."""
        return self._asked_layer

    def __repr__(self) -> str:
        device = next((f", {one.device}" for one in self.module.parameters()), "")
        return f"<{type(self).__name__} of {self.title}, {self.adapter.weights} weights{device}>"

    def layer_names(self, name: str | None, tensor: Tensor) -> tuple[str, ...]:
        """The layers in ``name``, which may be "a+b"; for None the model's default, found out once.

        ``tensor`` is an input (channels, height, width) to run the model on.

        Raises:
            LayerError: there is no such layer, or no default.
        """
        name = name or self._asked_layer
        if name is None:
            return tuple(self.inspector.default(tensor).verdicts)
        return layers_named(self.module, name)

    def extra_inputs(self, pictures: int = 1) -> AbstractContextManager[None]:
        """While entered, the model gets its extra arguments for so many ``pictures``."""
        return extra_inputs(self.module, *self._extra, pictures, self.inspector.run_mode.recording)

    def readers(self, like: Tensor) -> OutputReaders:
        """How the model's numbers are read for inputs like ``like`` (channels, height, width)."""
        layout_of, grid_of = partial(self.inspector.layout_of, like), operation_layouts(self.inspector, like)
        single, strides = self.inspector.run_mode.single, self.inspector.strides
        return OutputReaders(self.adapter.logits_of, layout_of, grid_of, single=single, strides=strides)

    def at_layers(self, job: BatchJob, count: int) -> BatchJob:
        """The job, of ``count`` pictures in all, with its layers found, and the findings of each."""
        like, asked = job.inputs[0].tensor, [layer or self._asked_layer for layer in job.request.layers]
        with self.extra_inputs(count), rows_in_batch([job.inputs[0].number]):
            names = [self.layer_names(layer, like) for layer in asked]
        by_default = [layer for named, layer in zip(asked, names, strict=True) if named is None]
        job = replace(job, layers=names, parts=frozenset(layer for layer in by_default if len(layer) > 1))
        with self.extra_inputs(count), rows_in_batch([job.inputs[0].number]):  # now as the model can be run
            findings = self._findings(job, {name for layer in by_default for name in layer})
        return replace(job, layer_findings=findings)

    def _findings(self, job: BatchJob, chosen: set[str]) -> dict[str, tuple[Finding, ...]]:
        """The findings of the job's layers, of which ``chosen`` are the default."""
        like, needs = job.inputs[0].tensor, job.request.needs
        by_default = [name for name in job.names if name in chosen]
        named = [name for name in job.names if name not in chosen]
        findings = self.inspector.verify(by_default, like, needs)
        return findings | self.inspector.verify(named, like, needs, chosen=False)


def _nothing(*_: Tensor) -> None:
    """Stands for a method whose needs are wanted, not its map."""
