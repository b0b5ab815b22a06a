"""The layers of one model: surveyed and probed once, and again when the model has changed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from torch import Tensor, nn

from camlucida.capture.custom_layout import CustomLayout, LayoutReader
from camlucida.capture.layout import Layout
from camlucida.capture.strides import Strides
from camlucida.errors import LayerError
from camlucida.findings import Finding, layer_chosen, layout_unsure, uneven_grid
from camlucida.images import Size, size_of
from camlucida.layers.cache_entries import CacheEntries
from camlucida.layers.default_layer import THOROUGH, DefaultLayers, choose, nearest
from camlucida.layers.evenness import probe_evenly
from camlucida.layers.fingerprint import Changes
from camlucida.layers.layer_errors import changed, offered, without_gradient, without_positions
from camlucida.layers.live_positions import LivePositions, SurveyedModel, find_live_positions
from camlucida.layers.names import check_layer
from camlucida.layers.probe import LayoutVerdict
from camlucida.layers.repeatability import not_the_same
from camlucida.layers.run_mode import RUN_MODES, Refused, RunMode, refusal
from camlucida.layers.survey import Logits, Survey, survey

T = TypeVar("T")
Layouts = Mapping[str, Sequence[Layout]]
_KEPT = 4  # sizes of input whose surveys are kept in memory


class LayerInspector:
    """The layers of ``module``.

    With a ``key``, which tells a named model from all others, what is found out is kept on disk too. ``read``
    says how named layers are read; ``embeds`` that the model returns an embedding. ``run_mode`` is how it lets
    itself be run, and ``findings`` say what there is to know of that. ``strides`` are those noted while it ran.
    """

    def __init__(
        self,
        module: nn.Module,
        logits_of: Logits,
        key: Mapping[str, Any] | None = None,
        read: LayoutReader | None = None,
        embeds: bool = False,
    ) -> None:
        self._module, self._logits_of, self._read = module, logits_of, read
        self._entries = CacheEntries(module, key)
        self._seen: OrderedDict[Size, SurveyedModel] = OrderedDict()
        self._changes = Changes(module)
        self._embeds = embeds
        self.strides: dict[Size, Strides] = {}
        self.run_mode: RunMode = RUN_MODES[0]
        self.findings: tuple[Finding, ...] = ()

    def default(self, like: Tensor) -> DefaultLayers:
        """The default layers for inputs like ``like`` (channels, height, width).

        Raises:
            LayerError: the model has none.
        """
        return self._again_if_changed(partial(self._default, like))

    def _default(self, like: Tensor) -> DefaultLayers:
        entry = self._entries.at(like, self.run_mode)
        if not entry.default:
            choice = choose(self.survey(like), partial(self._probe, like), partial(self.look, like))
            entry.default, entry.remarks = tuple(choice.verdicts), choice.remarks
            entry.verdicts.update(choice.verdicts)
            self._entries.keep(like, entry)
        return DefaultLayers({name: entry.verdicts[name] for name in entry.default}, entry.remarks)

    def verdict_of(self, name: str, like: Tensor) -> LayoutVerdict | None:
        """What the layer called ``name`` returns, and how sure that is; None if it does not return one tensor,
        once, of which the capture says more.

        Raises:
            LayerError: there is no such layer, or it has no positions.
        """
        check_layer(self._module, name)
        return self._again_if_changed(partial(self._verdict_of, name, like))

    def _verdict_of(self, name: str, like: Tensor) -> LayoutVerdict | None:
        entry = self._entries.at(like, self.run_mode)
        if name not in entry.verdicts:
            seen = self.survey(like)
            call = next((call for call in seen.layer_calls if call.name == name), None)
            if call is not None and len(call.shapes) == 1 and call.calls == 1:
                found = self._probe(like, {name: call.layouts}, 1) if call.layouts else {}
                if name in found and found[name].verdict != "verified":
                    found = self._probe(like, {name: call.layouts}, THOROUGH)
                if name not in found or found[name].verdict == "contradicted":
                    offer = self._offer(name, like)
                    raise LayerError(without_positions(seen, name, found.get(name), offer))
                entry.verdicts.update(found)
                self._entries.keep(like, entry)
        return entry.verdicts.get(name)

    def _check_gradient(self, name: str, like: Tensor) -> None:
        """Refuse a layer on no position of which the score depends."""
        found = self._verdict_of(name, like)
        if found is None:
            return
        grid, others = found.layout.grid, found.layout.prefix + found.layout.suffix
        if found.live_fraction * (grid[0] * grid[1] + others) < others + 0.5:
            raise LayerError(without_gradient(name, self._offer(name, like)))

    def survey(self, like: Tensor) -> Survey:
        """All layers."""
        return self._seen_at(like).survey

    def _seen_at(self, like: Tensor) -> SurveyedModel:
        size = size_of(like)
        if size not in self._seen:
            self._seen[size] = SurveyedModel(survey(self._module, like, self._logits_of))
            run_mode = self._seen[size].survey.run_mode
            self.run_mode = replace(run_mode, recording=run_mode.recording or self.run_mode.recording)
            while len(self._seen) > _KEPT:
                self._seen.popitem(last=False)
        self._seen.move_to_end(size)
        return self._seen[size]

    def look(self, like: Tensor, names: Sequence[str]) -> Mapping[str, LivePositions]:
        """On how many positions of these layers the score depends; each is computed once."""
        seen = self._seen_at(like)
        new = [name for name in dict.fromkeys(names) if name not in seen.looks]
        if new:
            run = partial(find_live_positions, self._module, like, self._logits_of, seen.survey, new)
            found = self._in_some_mode(like, run)
            seen.looks |= {
                name: replace(one, class_map=one.class_map and not self._embeds)
                for name, one in found.layers.items()
            }
            if (found.apart or seen.survey.drew) and not self.findings:
                self.findings, alone = not_the_same(self._module, like, self._logits_of, self.run_mode)
                self.run_mode = replace(self.run_mode, single=alone or self.run_mode.single)
        return seen.looks

    def verify(
        self, names: Sequence[str], like: Tensor, needs: Collection[str], chosen: bool = True
    ) -> dict[str, tuple[Finding, ...]]:
        """Verify layers before a capture with such ``needs``; the findings of each.

        ``chosen`` says that they are the default, of which there may be something to say.

        Raises:
            LayerError: one has no positions, or no gradient where that is needed.
        """
        self._forget_if_rebuilt()
        findings: dict[str, tuple[Finding, ...]] = {}
        for name in names:
            found = None if self._read else self.verdict_of(name, like)
            if found is None:
                continue
            entry = self._entries.at(like, self.run_mode)
            if "gradients" in needs and not (name in entry.default and len(entry.default) > 1):
                self._again_if_changed(partial(self._check_gradient, name, like))
            sure = found.verdict == "verified"
            unsure = [] if sure else [layout_unsure(name, str(found.layout), found.verdict)]
            unsure += [uneven_grid(entry.uneven)] if entry.uneven else []
            remarks = entry.remarks if chosen and name in entry.default else ()
            findings[name] = (*unsure, *(layer_chosen(name, one) for one in remarks), *self.findings)
        if "bias_terms" in needs:
            self.default(like)
        return findings

    def layout_of(self, like: Tensor, name: str, tensor: Tensor) -> Layout | CustomLayout:
        """The layout of what the layer has returned, a batch, once ``verify`` has been called.

        Raises:
            LayerError: it returns something else than before.
        """
        if self._read:
            return self._read(name, tensor, size_of(like))
        layout = self._entries.at(like, self.run_mode).verdicts[name].layout
        if not layout.fits(tuple(tensor.shape)):
            raise LayerError(changed(name, tuple(tensor.shape), layout))
        return layout

    def all(self, like: Tensor) -> dict[str, LayoutVerdict]:
        """What the probe says of every layer that may have positions."""
        layer_calls = [call for call in self.survey(like).layer_calls if call.layouts and call.calls == 1]
        return self._probe(like, {call.name: call.layouts for call in layer_calls}, 1)

    def _probe(self, like: Tensor, layouts: Layouts, draws: int) -> dict[str, LayoutVerdict]:
        looks = self.look(like, list(layouts))
        run = partial(probe_evenly, self._module, like, layouts, draws, self.survey(like))
        found, self._entries.at(like, self.run_mode).uneven = self._in_some_mode(like, run)
        return {name: replace(one, live_fraction=looks[name].live_fraction) for name, one in found.items()}

    def _in_some_mode(self, like: Tensor, do: Callable[[RunMode], T]) -> T:
        """The result of ``do``, with gradients recording if the model needs them.

        Raises:
            ModelError: the model cannot be run.
        """
        why = Refused("", "")
        for recording in dict.fromkeys((self.run_mode.recording, True)):
            run_mode = replace(self.run_mode, recording=recording)
            try:
                found = do(run_mode)
            except Refused as refused:
                why = refused
                continue
            self.run_mode = run_mode
            return found
        raise refusal(self._module, like, why)

    def _again_if_changed(self, find: Callable[[], T]) -> T:
        """The result of ``find``; if it refuses and weights have changed since, found again from the start."""
        self._forget_if_rebuilt()
        try:
            return find()
        except LayerError:
            if not self._changes.of_weights():
                raise
            self._forget()
        return find()

    def _forget_if_rebuilt(self) -> None:
        if self._changes.of_parts():
            self._forget()

    def _forget(self) -> None:
        self._seen.clear()
        self._entries.clear()
        self.strides.clear()
        self.findings = ()

    def _offer(self, name: str, like: Tensor) -> str:
        return offered(nearest(self.survey(like), name, partial(self.look, like)))
