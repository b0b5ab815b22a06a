"""Which layouts the shapes of a whole trace allow: a shape is read in the light of the modules that made it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from camlucida.capture.layout import Channels, Layout, readings
from camlucida.images import Size
from camlucida.layers.trace import CallRecord, Shape, TensorRecord

# Operations that leave channels on their axis, by autograd's names, behind which a convolution is recognised.
_KEEPING = (
    *("Relu", "LeakyRelu", "Elu", "Gelu", "Silu", "Mish", "Hardtanh", "Hardswish", "Tanh", "Sigmoid"),
    *("MaxPool2D", "AvgPool2D", "NativeBatchNorm", "CudnnBatchNorm", "NativeGroupNorm", "NativeDropout"),
    *("Add", "Sub", "Mul", "Div", "Clone", "Alias", "ToCopy", "Cat", "Slice", "Upsample", "ConstantPadNd"),
    "Softplus",
)
_NEAR = 64  # operations
_FIRST = ("out_channels", "num_features", "num_channels")  # of convolutions, batch norms and group norms


def layouts_of(records: Sequence[CallRecord], batch: int, size: Size) -> list[list[Layout]]:
    """For each call the layouts that its one output allows, the likeliest first.

    Where a convolution or a normalisation says by its own count of channels which axis those are on, that
    settles the matter for what it returns, and for what is handed on in the same shape. A square whose sides
    are the number of tokens is a matrix of attention and no picture.
    """
    tokens = {shape[1] for record in records for shape in _shapes(record) if len(shape) == 3}
    known: dict[int, Channels] = {}
    found: list[list[Layout]] = []
    for place, record in enumerate(records):
        shapes = _shapes(record)
        if len(shapes) != 1 or len(shapes[0]) not in (3, 4):
            found.append([])
            continue
        shape = shapes[0]
        channels = _channels(records, place, known) if len(shape) == 4 else None
        if channels:
            known[record.returns[0].value_id] = channels
        attention = channels is None and len(shape) == 4 and shape[2] == shape[3] and shape[3] in tokens
        layouts = readings(shape, batch, size, channels)
        found.append([one for one in layouts if not (attention and one.kind == "NCHW")])
    return found


def _shapes(record: CallRecord) -> list[Shape]:
    return [passed.shape for passed in record.returns]


def _channels(records: Sequence[CallRecord], place: int, known: dict[int, Channels]) -> Channels | None:
    """Whether the channels of a call's output are first or last, as far as modules say."""
    record = records[place]
    shape = record.returns[0].shape
    own = _own_channels(record.module, shape)
    if own or record.returns[0].value_id in known:
        return own or known[record.returns[0].value_id]
    if _convolved(record.returns[0]):
        return "first"
    # What a function has added up is no module's output: then the last one of that shape says it.
    same_shape = [one.returns[0] for one in reversed(records[:place]) if _shapes(one) == [shape]]
    for passed in [*(taken for taken in record.takes if len(taken.shape) == 4), *same_shape]:
        channels = known.get(passed.value_id)
        axis = 1 if channels == "first" else 3
        if channels and passed.shape[0] == shape[0] and passed.shape[axis] == shape[axis]:
            return channels
    return None


def _convolved(passed: TensorRecord) -> bool:
    """Whether a convolution made a tensor, and nothing since has moved its channels."""
    node: Any = passed.edge[0] if passed.edge else None
    for _ in range(_NEAR):
        name = type(node).__name__.partition("Backward")[0]
        if name == "Convolution":
            return True
        if not name.startswith(_KEEPING) or not node.next_functions:
            return False
        node = node.next_functions[0][0]
    return False


def _own_channels(module: nn.Module, shape: Shape) -> Channels | None:
    counts = [getattr(module, name) for name in _FIRST if isinstance(getattr(module, name, None), int)]
    if counts and shape[1] == counts[0] and next(module.parameters(), None) is not None:
        return "first"
    last = getattr(module, "normalized_shape", None) or (getattr(module, "out_features", None),)
    if isinstance(module, nn.LayerNorm | nn.Linear) and tuple(last) == (shape[3],):
        return "last"
    return None
