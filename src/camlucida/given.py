"""What a model wants beside the picture, handed to it each time it runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_map


@contextmanager
def given(module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[None]:
    """While entered, each run of ``module`` in this thread on a batch of inputs gets these arguments as well.

    ``args`` follow the inputs. A tensor whose first axis is 1 is repeated along it for each picture.
    """
    if not (args or kwargs):
        yield
        return
    thread = threading.get_ident()

    def hand(_module: nn.Module, inputs: Any, others: Any) -> Any:
        if threading.get_ident() != thread:
            return None
        batch = len(inputs[0])

        def repeated(leaf: Any) -> Any:
            one_each = isinstance(leaf, Tensor) and leaf.ndim > 0 and len(leaf) == 1
            return leaf.expand(batch, *leaf.shape[1:]) if one_each else leaf

        return (*inputs, *tree_map(repeated, tuple(args))), {**others, **tree_map(repeated, dict(kwargs))}

    handle = module.register_forward_pre_hook(hand, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()
