"""The class that all others derive from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import zip_longest
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from camlucida.capture import borrow_lock
from camlucida.compat.pytorch_grad_cam._arguments import (
    Asked,
    PeerTarget,
    asked_for,
    in_older_order,
    of_older_releases,
)
from camlucida.compat.pytorch_grad_cam._engine import (
    SEEN,
    ActivationsAndGradients,
    Engine,
    Found,
    warn_of,
)
from camlucida.compat.pytorch_grad_cam._formulas import Array, Peer, contributions_of, projection, weights_in
from camlucida.compat.pytorch_grad_cam.utils.image import scale_cam_image
from camlucida.compat.pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from camlucida.compat.pytorch_grad_cam.utils.svd_on_activations import get_2d_projection
from camlucida.errors import OptionError
from camlucida.heatmaps.smoothing import merge, views
from camlucida.methods import registry
from camlucida.pipeline.maps import LayerMaps

Targets = Sequence[PeerTarget | Asked]

_OLD_INIT = {"use_cuda": "move the model yourself, model.cuda()", "target_layer": "write target_layers=[layer]"}
_OLD_CALL = {"target_category": "write targets=[ClassifierOutputTarget(category)], one a picture"}


class BaseCAM:
    """A class activation map of ``target_layers``, resized to the input and scaled to 0…1.

    A class of this module names its ``method``. To bring your own, write ``get_cam_weights`` or
    ``get_cam_image``. ``reshape_transform`` says how a layer's output becomes (batch, channels, height, width);
    left out, that is found. ``strict_parity`` asks for the peer's own numbers, where they can be had.

    The model comes back as it was. ``outputs`` are its logits of the last call. ``batch_size`` is accepted and
    not needed: how many variants of a picture run at once is measured.
    """

    method: ClassVar[str] = ""
    defaults: ClassVar[Mapping[str, Any]] = {}  # of the method's options, where the peer's are others
    peer: Peer = Peer()  # what strict_parity puts in the method's place

    def __init_subclass__(cls, *, method: str | None = None, peer: Peer | None = None) -> None:
        """A class of this package says what its method is, and the peer's formula where that is another."""
        super().__init_subclass__()
        cls.method, cls.peer = method or cls.method, peer or cls.peer

    def __init__(
        self,
        model: nn.Module,
        target_layers: Sequence[nn.Module] | None = None,
        reshape_transform: Callable[[Tensor], Tensor] | bool | None = None,
        compute_input_gradient: bool = False,
        uses_gradients: bool = True,
        tta_transforms: Any = None,
        detach: bool = True,
        *,
        strict_parity: bool = False,
        **older: Any,
    ) -> None:
        moved, reshape, fourth = in_older_order(reshape_transform, compute_input_gradient)
        compute_input_gradient = bool(fourth)
        old = of_older_releases({**moved, **older}, _OLD_INIT)
        layers = target_layers if old["target_layer"] is None else [old["target_layer"]]
        if layers is None:
            raise TypeError("__init__() missing 1 required argument: 'target_layers'")
        if compute_input_gradient or not detach:
            raise OptionError(
                "a class of your own gets activations and gradients without the graph behind them: leave out "
                "compute_input_gradient and detach, or derive from pytorch-grad-cam's own class"
            )
        self.model = model.cuda() if old["use_cuda"] else model
        self.target_layers, self.reshape_transform = list(layers), reshape
        self.uses_gradients = (
            "gradients" in registry.get_method(self.method).needs if self.method else uses_gradients
        )
        self.compute_input_gradient, self.detach = compute_input_gradient, detach
        self.tta_transforms, self.strict_parity = tta_transforms, strict_parity
        self.options = dict(self.defaults)
        self.batch_size = 32
        self.outputs: Tensor | None = None
        self.activations_and_grads = ActivationsAndGradients(model, self.target_layers, reshape)
        self._engine = Engine(self.model, self.target_layers, reshape)
        self._found = Found()

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    def __call__(
        self,
        input_tensor: Tensor,
        targets: Targets | None = None,
        aug_smooth: bool = False,
        eigen_smooth: bool = False,
        **older: Any,
    ) -> Array:
        """Maps (batch, height, width) of inputs (batch, channels, height, width), float32, 0 to 1.

        ``targets`` has one for each picture, the top class where left out. ``aug_smooth`` is the mean over six
        views, ``eigen_smooth`` the principal component of the channels' contributions.
        """
        old = of_older_releases(older, _OLD_CALL)
        if old["target_category"] is not None:
            categories = np.atleast_1d(old["target_category"]).tolist()
            each = len(input_tensor) if len(categories) == 1 else 1
            targets = [ClassifierOutputTarget(index) for index in categories * each]
        run = self.forward_augmentation_smoothing if aug_smooth else self.forward
        return run(input_tensor, targets, eigen_smooth)

    def forward(self, input_tensor: Tensor, targets: Targets | None, eigen_smooth: bool = False) -> Array:
        """The maps of the plain pictures."""
        return self._forward(input_tensor, asked_for(targets, len(input_tensor)), eigen_smooth)

    def forward_augmentation_smoothing(
        self, input_tensor: Tensor, targets: Targets | None, eigen_smooth: bool = False
    ) -> Array:
        """The mean of the maps of six views, or of ``tta_transforms``; their class is that of the plain one."""
        asked = asked_for(targets, len(input_tensor))
        plain = torch.from_numpy(self._forward(input_tensor, asked, eigen_smooth))
        if targets is None and not self.strict_parity:
            targets = [one.chosen for one in asked if one.chosen]
        own = partial(self.forward, targets=targets, eigen_smooth=eigen_smooth)
        if self.tta_transforms is None:
            others = [torch.from_numpy(own(view)) for view in views(input_tensor)[1:]]
            return _array(merge(torch.stack([plain, *others]))[0])
        maps = []
        for view in self.tta_transforms:
            seen = torch.from_numpy(own(view.augment_image(input_tensor)))
            maps.append(view.deaugment_mask(seen[:, None])[:, 0])
        return _array(torch.stack(maps).mean(dim=0).float())

    def get_target_width_height(self, input_tensor: Tensor) -> tuple[int, int]:
        """The input's size, (width, height)."""
        return int(input_tensor.shape[-1]), int(input_tensor.shape[-2])

    def compute_cam_per_layer(self, input_tensor: Tensor, targets: Targets, eigen_smooth: bool) -> list[Array]:
        """For each layer its maps (batch, 1, height, width) at the input's size, scaled to 0…1."""
        size = self.get_target_width_height(input_tensor)
        if self._is_own(eigen_smooth):
            seen = self.activations_and_grads
            arrays = [[_array(one) for one in kind] for kind in (seen.activations, seen.gradients)]
            raw = [
                self.get_cam_image(input_tensor, layer, targets, activations, slope, eigen_smooth)
                for layer, activations, slope in zip_longest(self.target_layers, *arrays)
            ]
            maps = [LayerMaps(torch.from_numpy(np.asarray(one))) for one in raw]
        else:
            maps = self._found.maps
            raw = [one.heatmaps.numpy() for one in maps]
        warn_of(maps)
        return [
            scale_cam_image(np.maximum(one, 0), size, strict_parity=self.strict_parity)[:, None] for one in raw
        ]

    def aggregate_multi_layers(self, cam_per_target_layer: list[Array]) -> Array:
        """One map a picture, the mean over layers."""
        mean = np.maximum(np.concatenate(cam_per_target_layer, axis=1), 0).mean(axis=1)
        scaled: Array = scale_cam_image(mean, strict_parity=self.strict_parity)
        return scaled

    def get_cam_weights(
        self,
        input_tensor: Tensor,
        target_layers: Any,
        targets: Targets,
        activations: Array,
        grads: Array,
    ) -> Array:
        """A weight for each channel (batch, channels)."""
        if self.strict_parity and self.peer.weights:
            return self.peer.weights(activations, grads)
        if not self.method:
            raise NotImplementedError("write get_cam_weights(…) → (batch, channels), or get_cam_image")
        return weights_in(contributions_of(self.method, self.options, activations, grads), activations)

    def get_cam_image(
        self,
        input_tensor: Tensor,
        target_layer: nn.Module,
        targets: Targets,
        activations: Array,
        grads: Array | None,
        eigen_smooth: bool = False,
    ) -> Array:
        """The raw maps of a layer (batch, height, width)."""
        if self.strict_parity and self.peer.image:
            return self.peer.image(activations, grads)
        weighted = type(self).get_cam_weights is not BaseCAM.get_cam_weights or not self.method
        if weighted or (self.strict_parity and self.peer.weights):
            weights = self.get_cam_weights(input_tensor, target_layer, targets, activations, grads)  # type: ignore[arg-type]
            values = weights[:, :, None, None] * activations
        else:
            values = contributions_of(self.method, self.options, activations, grads)
        if values.ndim == 3:  # a method with maps of its own
            return values
        if eigen_smooth:
            return projection(values) if self.strict_parity else get_2d_projection(values)
        summed: Array = values.sum(axis=1)
        return summed

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.activations_and_grads.release()

    def _is_own(self, eigen_smooth: bool) -> bool:
        """Whether the map is made by ``get_cam_image``, and not by the library's method."""
        own = type(self).get_cam_image, type(self).get_cam_weights
        if not self.method or own != (BaseCAM.get_cam_image, BaseCAM.get_cam_weights):
            return True
        simple = {"activations", "gradients"} >= set(registry.get_method(self.method).needs)
        return self.strict_parity and (self.peer != Peer() or (eigen_smooth and simple))

    def _forward(self, input_tensor: Tensor, asked: list[Asked], eigen_smooth: bool) -> Array:
        own = self._is_own(eigen_smooth)
        method = SEEN[self.uses_gradients] if own else registry.get_method(self.method)
        given = input_tensor.to(self.device), asked, method, {} if own else self.options
        with borrow_lock.exclusive():  # what is kept of a call is this object's
            self._found = self._engine.run(*given, eigen=eigen_smooth and not own)
            self.activations_and_grads.activations = self._found.activations
            self.activations_and_grads.gradients = self._found.gradients
            self.outputs = torch.stack([one.output for one in asked if one.output is not None])
            targets = [one.chosen for one in asked if one.chosen]
            return self.aggregate_multi_layers(self.compute_cam_per_layer(given[0], targets, eigen_smooth))


def _array(tensor: Tensor) -> Array:
    array: Array = tensor.cpu().numpy()
    return array
