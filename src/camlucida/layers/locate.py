"""Which layer to look at when none is named.

Step by step: the tutorial's four families have the layers that the tutorial takes; any other network is
taken if it ends as convolutional networks do, in a map whose positions are pooled or flattened away at
once. Everything else is refused: a layer must then be named.
"""

from __future__ import annotations

from math import prod

from torch import nn

from camlucida.errors import LayerError, one_of
from camlucida.images import Size
from camlucida.layers.layout import Layout, layout_of
from camlucida.layers.trace import Record

# class (module, name) → the tutorial's layer, -1 standing for the last of a sequence
_FAMILIES = {
    ("timm.models.vision_transformer", "VisionTransformer"): "blocks.-1.norm1",
    ("timm.models.swin_transformer", "SwinTransformer"): "layers.-1.blocks.-1.norm2",
    ("timm.models.convnext", "ConvNeXt"): "stages.-1.blocks.-1.norm",
}


def prefix_tokens(module: nn.Module) -> int | None:
    """How many tokens precede the positions in this model's tokens; None where they are not understood."""
    family = _family(module)
    if family == "VisionTransformer":
        return int(module.num_prefix_tokens)  # type: ignore[arg-type]
    return 0 if family == "SwinTransformer" else None


def default_layer(module: nn.Module, records: list[Record], input_size: Size) -> str:
    """The layer taken when none is named, from the ``records`` of a forward on ``input_size``.

    Raises:
        LayerError: this network ends in a way that is not understood.
    """
    pattern = {name: layer for (_, name), layer in _FAMILIES.items()}.get(_family(module) or "")
    if pattern:
        return _last(module, pattern)
    spatial = [i for i, record in enumerate(records) if layout(module, record, input_size) is not None]
    if not spatial or not _pooled(records, spatial[-1], layout(module, records[spatial[-1]], input_size)):
        raise LayerError(
            f"no default layer is known for {type(module).__name__}, which does not end in a map that is "
            "pooled at once: name one (`--layer`, `layers=[…]`), `camlucida layers MODEL` lists them"
        )
    last = records[spatial[-1]]
    names = [record.name for record in records if record.same == last.same and record.returns == last.returns]
    return min(reversed(names), key=lambda name: name.count("."))


def layout(module: nn.Module, record: Record, input_size: Size) -> Layout | None:
    """The layout of what the module returned, None if it has no positions or leaves them in doubt."""
    if len(record.returns) != 1 or record.returns[0][:1] != (record.batch,):
        return None
    try:
        return layout_of(record.returns[0], input_size, prefix_tokens(module), record.module)
    except LayerError:
        return None


def check_layer(module: nn.Module, name: str) -> str:
    """``name``, if the model has such a layer.

    Raises:
        LayerError: it has none; close names are offered.
    """
    names = [known for known, _ in module.named_modules() if known]
    if name not in names:
        raise LayerError(one_of("layer", name, names, "`camlucida layers MODEL` lists them all"))
    return name


def _family(module: nn.Module) -> str | None:
    return next(
        (cls.__name__ for cls in type(module).__mro__ if (cls.__module__, cls.__name__) in _FAMILIES), None
    )


def _last(module: nn.Module, pattern: str) -> str:
    names: list[str] = []
    for part in pattern.split("."):
        children = [name for name, _ in module.named_children()]
        name = children[-1] if part == "-1" else part
        if name not in children:
            raise LayerError(
                f"this model has no layer {'.'.join([*names, part])!r}, which is looked at by default in its "
                "family: name one (`--layer`, `layers=[…]`), `camlucida layers MODEL` lists them"
            )
        names.append(name)
        module = module.get_submodule(name)
    return ".".join(names)


def _pooled(records: list[Record], index: int, found: Layout | None) -> bool:
    """Whether the map at ``index`` goes straight into something without positions.

    The module that runs next either takes the map itself and returns none, or takes what functions in
    between have made of it: one value a channel, or all of them in a row.
    """
    shape = records[index].returns[0]
    channels = shape[-1] if found is not None and found.kind == "NHWC" else shape[1]
    for following in records[index + 1 : index + 2]:
        if shape in following.takes:
            return all(_flat(returned) for returned in following.returns)
        return any(_flat(taken) and taken[1] in (channels, prod(shape[1:])) for taken in following.takes)
    return False


def _flat(shape: tuple[int, ...]) -> bool:
    return len(shape) > 1 and max(shape[2:], default=1) == 1
