"""Pictures decoded ahead, explained in batches and given out one by one, so that memory stays flat."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import Any

from torch import Tensor

from camlucida.errors import NotFinite
from camlucida.heatmaps.smoothing import VIEWS
from camlucida.models.inputs import Decoder, ModelInput
from camlucida.pipeline.explanation import Explanation

_THREADS = 4
_MOST_NAN = 64  # images that may give nothing but NaN, from the first on, before the model is called broken


@dataclass(frozen=True)
class Outcome:
    """The result for the picture with a ``number``: its explanations, or an error."""

    number: int
    explanations: list[Explanation] = field(default_factory=list)
    error: Exception | None = None


Explain = Callable[[list[ModelInput]], list[Explanation]]


def outcomes(
    pictures: Iterable[Any],
    decoder: Decoder,
    explain: Explain,
    blank: Explain,
    batch_size: int,
    retry: bool,
) -> Iterator[Outcome]:
    """The outcome of each picture, in order.

    ``explain`` takes a batch, of inputs of one size; ``blank`` gives maps of NaN where the model gives nothing
    else. With ``retry`` each picture of a batch that ends in another error is explained alone.
    """
    for batch in batches(_decoded(pictures, decoder, 2 * batch_size), batch_size):
        if isinstance(batch, Outcome):
            yield batch
            continue
        explanations, failed = _explained(batch, explain, blank)
        if explanations:
            each = len(explanations) // len(batch)
            for i, one in enumerate(batch):
                yield Outcome(one.number, explanations[i * each : (i + 1) * each], failed)
        elif retry and len(batch) > 1:
            for one in batch:
                found, failed = _explained([one], explain, blank)
                yield Outcome(one.number, found, failed)
        else:
            yield from (Outcome(one.number, error=failed) for one in batch)


def _explained(
    batch: list[ModelInput], explain: Explain, blank: Explain
) -> tuple[list[Explanation], Exception | None]:
    """The batch's explanations, maps of NaN with that error, or the error alone."""
    try:
        return explain(batch), None
    except NotFinite as error:
        failed = error
    except Exception as error:  # noqa: BLE001 - the user's model is run
        return [], error
    return blank(batch), failed


def until_finite(found: Iterable[Outcome]) -> Iterator[Outcome]:
    """The outcomes; pictures for which the model returns NaN are held back until it returns numbers for one.

    Raises:
        NotFinite: the model returns NaN for all pictures, or for the first 64.
    """
    held: list[Outcome] = []
    finite = False
    for one in found:
        finite = finite or one.error is None
        nan = isinstance(one.error, NotFinite)
        if nan:
            held.append(one)
        if one.error and len(held) == _MOST_NAN and not finite:
            raise one.error
        if finite:
            yield from (replace(other, error=None) for other in held)
            held.clear()
        if not nan:
            yield one
    if held and held[0].error:
        raise held[0].error


def inputs_at_once(batch_size: int, aug: bool) -> int:
    """How many images make a batch: ``batch_size`` counts the model's inputs, of which each view is one."""
    return max(1, batch_size // VIEWS) if aug else batch_size


def _decoded(pictures: Iterable[Any], decoder: Decoder, ahead: int) -> Iterator[ModelInput | Outcome]:
    """The pictures' inputs in order, ``ahead`` of them decoded while others are explained."""
    numbered = enumerate(pictures)
    first = list(islice(numbered, 2))
    if len(first) < 2 or all(isinstance(picture, Tensor) for _, picture in first):
        yield from (
            _tried(decoder, picture, number) for group in (first, numbered) for number, picture in group
        )
        return
    waiting: deque[Future[ModelInput | Outcome]] = deque()
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1), "camlucida-decode") as pool:
        try:
            for group in (first, numbered):
                for number, picture in group:
                    # The thread's own context says for whom messages are written.
                    decode = partial(copy_context().run, _tried, decoder, picture, number)
                    waiting.append(pool.submit(decode))
                    if len(waiting) > ahead:
                        yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _tried(decoder: Decoder, picture: Any, number: int) -> ModelInput | Outcome:
    try:
        return decoder(picture, number)
    except Exception as error:  # noqa: BLE001 - it is told by whoever asked
        return Outcome(number, error=error)


def batches(decoded: Iterable[ModelInput | Outcome], size: int) -> Iterator[list[ModelInput] | Outcome]:
    """Neighbours of one input size, at most ``size`` of them, and the errors between them in their places."""
    batch: list[ModelInput] = []
    for one in decoded:
        ends = isinstance(one, Outcome) or (batch and one.tensor.shape != batch[0].tensor.shape)
        if batch and (ends or len(batch) == size):
            yield batch
            batch = []
        if isinstance(one, Outcome):
            yield one
        else:
            batch.append(one)
    if batch:
        yield batch


def raised(found: Iterable[Outcome]) -> Iterator[Explanation]:
    """The explanations; the first error is raised."""
    for one in found:
        if one.error is not None:
            raise one.error
        yield from one.explanations


def skipped(found: Iterable[Outcome], warn: Callable[[Outcome], None]) -> Iterator[Explanation]:
    """The explanations; ``warn`` is called for each picture that has none.

    Raises:
        Exception: no picture has any, and all ended in the same error.
    """
    errors: dict[str, Exception] = {}
    explained = False
    for one in found:
        if one.error is None:
            explained = True
            yield from one.explanations
        else:
            errors[str(one.error)] = one.error
            warn(one)
    if not explained and len(errors) == 1:
        raise next(iter(errors.values()))
