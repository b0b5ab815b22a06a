"""From a capture to maps: every method, layer and target of one batch, smoothed and combined.

Everything stays on the model's device until ``on_host`` copies it all at once: a copy for each map would make
the device wait for each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from camlucida.findings import no_component, single_layer, zero_gradient
from camlucida.heatmaps.combine import fuse, reduce
from camlucida.heatmaps.components import principal_component, sign_clarity
from camlucida.heatmaps.examine import Flag, WithFindings, with_sign_findings
from camlucida.heatmaps.scale import peaks
from camlucida.heatmaps.smoothing import VIEWS, merge
from camlucida.images.frame import EVEN, Cells, size_of

if TYPE_CHECKING:
    from camlucida.capture.captures import BatchCapture, LayerCapture
    from camlucida.methods.registry import Method

MapKey = tuple[int, int, int]  # layer, method, target
Methods = Sequence[tuple["Method", Mapping[str, Any]]]


@dataclass(frozen=True)
class LayerMaps:
    """A method's maps of one layer and target, a row for each input of the batch.

    ``heatmaps`` and ``spreads``, over views if there are any, are (batch, height, width); ``flags`` has the
    findings with the rows that each holds for. ``cells`` says where the cells lie on the input, as in
    ``images.Frame``.
    """

    heatmaps: Tensor
    flags: tuple[Flag, ...] = ()
    spreads: Tensor | None = None
    cells: Cells = EVEN


def maps_of(
    capture: BatchCapture, methods: Methods, target_rows: Sequence[Sequence[int]], eigen: bool
) -> dict[MapKey, LayerMaps]:
    """The maps by layer, method and target, each computed once.

    ``target_rows[m][t]`` is the row of the capture's targets that method m explains for target t.
    """
    maps: dict[MapKey, LayerMaps] = {}
    for layer, by_target in enumerate(capture.captured):
        for m, (method, options) in enumerate(methods):
            result: Any = None
            for t, row in enumerate(target_rows[m]):
                captured = by_target[row]
                if t and method.classless:
                    maps[layer, m, t] = maps[layer, m, 0]
                    continue
                if t == 0 or method.returns != "weights":  # weights are of all targets at once
                    result = method.run(captured, options)
                found = _heatmaps(method, result, captured.activations, row, eigen)
                flags = [*found.flags, *_capture_flags(capture, method, captured, layer)]
                cells = capture.cells(size_of(found.values))
                maps[layer, m, t] = LayerMaps(found.values.float(), tuple(flags), cells=cells)
    return maps


def _heatmaps(method: Method, result: Any, activations: Tensor, target: int, eigen: bool) -> WithFindings:
    """The maps (batch, height, width) in a method's result, with its findings."""
    noted = result if isinstance(result, WithFindings) else WithFindings(result, ())
    if method.returns == "heatmap":
        more = [(no_component(method.name), _every(noted.values))] if eigen else []
        return WithFindings(noted.values, [*noted.flags, *more])
    values = noted.values
    if method.returns == "weights":
        weights = values[:, target]
        values = (activations.movedim((0, 1), (-2, -1)) * weights).movedim((-2, -1), (0, 1))
    summed = reduce(values)
    if not eigen:
        return WithFindings(summed, noted.flags)
    component = principal_component(values, summed)
    signed = with_sign_findings(component, sign_clarity(component, summed))
    return WithFindings(component, [*noted.flags, *signed.flags])


def _capture_flags(capture: BatchCapture, method: Method, captured: LayerCapture, layer: int) -> list[Flag]:
    """Findings from the capture."""
    flags: list[Flag] = []
    if "gradients" in method.needs and captured.gradients is not None:
        flags.append((zero_gradient(), ~captured.gradients.ne(0).flatten(1).any(dim=1)))
    by_row = [capture.findings(layer, method.needs, i) for i in range(len(capture.outputs))]
    found = dict.fromkeys(finding for row in by_row for finding in row)
    return [*flags, *((finding, torch.tensor([finding in row for row in by_row])) for finding in found)]


def combine_layers(
    by_layer: Sequence[LayerMaps], method: Method, aug: bool = False, parts: bool = False
) -> LayerMaps:
    """One map per image from those of several layers and, with ``aug``, of six views of each image.

    The layers' maps of each view are combined before the views are, so that the spread is that of the map.
    ``parts`` says that the layers carry the score together: then their contributions are added as they are.
    Other layers are scaled first, each to the largest magnitude of its mean over the views.
    """
    count = len(by_layer[0].heatmaps)
    views = VIEWS if aug else 1
    flags = [(finding, mask[::views]) for maps in by_layer for finding, mask in maps.flags]
    if method.fusion == "product" and len(by_layer) == 1:
        flags.append((single_layer(method.name), _every(by_layer[0].heatmaps[::views])))
    cells = max(by_layer, key=lambda maps: maps.heatmaps[0].numel()).cells
    stacks = [
        maps.heatmaps.view(count // views, views, *maps.heatmaps.shape[1:]).movedim(1, 0) for maps in by_layer
    ]
    combined = _combined(stacks, [maps.cells for maps in by_layer], method, parts)
    mean, spreads = merge(combined, cells) if aug else (combined[0], None)
    return LayerMaps(mean, _joined(flags), spreads, cells)


def _combined(stacks: Sequence[Tensor], cells: Sequence[Cells], method: Method, parts: bool) -> Tensor:
    """One map for each view and image (views, images, height, width), from those of each layer.

    In a product, evidence against counts as nothing: two such would make evidence for.
    """
    boxes = [one.box for one in cells]
    if len(stacks) == 1:
        return stacks[0]
    if method.fusion == "product":
        positive = [maps.clamp(min=0) for maps in stacks]
        return fuse([_scaled(maps, peaks(maps)) for maps in positive], "product", boxes)
    if parts and not method.classless:
        most = max(maps[0, 0].numel() for maps in stacks)  # evidence an area, and a sum
        return fuse([maps * (maps[0, 0].numel() * len(stacks) / most) for maps in stacks], boxes=boxes)
    means = [merge(maps, one)[0] if len(maps) > 1 else maps[0] for maps, one in zip(stacks, cells, strict=True)]
    return fuse(
        [_scaled(maps, peaks(mean, method.signed)) for maps, mean in zip(stacks, means, strict=True)],
        boxes=boxes,
    )


def _scaled(maps: Tensor, by: Tensor) -> Tensor:
    """Maps (…, height, width) divided by their values of full colour, where there are any."""
    return maps / by.where(by != 0, 1)[..., None, None]


def _every(values: Tensor) -> Tensor:
    return torch.ones(len(values), dtype=torch.bool)


def _joined(flags: Sequence[Flag]) -> tuple[Flag, ...]:
    """Each finding once, for all rows that any of its flags holds for."""
    joined: dict[Any, Tensor] = {}
    for finding, mask in flags:
        joined[finding] = mask if finding not in joined else joined[finding] | mask.to(joined[finding].device)
    return tuple(joined.items())


def on_host(maps: Mapping[MapKey, LayerMaps]) -> dict[MapKey, LayerMaps]:
    """The same maps and flags on the CPU, copied from the device at once."""
    distinct = {id(one): one for one in maps.values()}
    tensors = [
        tensor
        for one in distinct.values()
        for tensor in (one.heatmaps, one.spreads, *(mask for _, mask in one.flags))
        if tensor is not None
    ]
    copies = iter(host_copies(tensors))
    moved = {}
    for key, one in distinct.items():
        heatmaps = next(copies)
        spreads = None if one.spreads is None else next(copies)
        flags = tuple((finding, next(copies)) for finding, _ in one.flags)
        moved[key] = replace(one, heatmaps=heatmaps, spreads=spreads, flags=flags)
    return {key: moved[id(one)] for key, one in maps.items()}


def host_copies(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The tensors on the CPU; those of one device and type cross over together."""
    copies: dict[int, Tensor] = {}
    groups: dict[tuple[torch.device, torch.dtype], list[int]] = {}
    for i, tensor in enumerate(tensors):
        if tensor.device.type == "cpu":
            copies[i] = tensor
        else:
            groups.setdefault((tensor.device, tensor.dtype), []).append(i)
    for members in groups.values():
        flat = torch.cat([tensors[i].detach().flatten() for i in members]).cpu()
        parts = torch.split(flat, [tensors[i].numel() for i in members])
        copies |= {i: part.view(tensors[i].shape) for i, part in zip(members, parts, strict=True)}
    return [copies[i] for i in range(len(tensors))]
