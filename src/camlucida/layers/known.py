"""What is known of the layers of one model: found out once for each size of input, then kept."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor, nn

from camlucida.errors import LayerError, one_of
from camlucida.health import Finding, layer_chosen, layout_unsure
from camlucida.images import Size
from camlucida.layers import cache
from camlucida.layers.layout import Layout, readings
from camlucida.layers.locate import THOROUGH, Choice, candidates, choose, nearest
from camlucida.layers.probe import Judged, probe
from camlucida.layers.reshaped import Read, Reshaped
from camlucida.layers.survey import Logits, Survey, survey


class Known:
    """The layers of ``module``.

    ``key`` tells a model that a library names from all others; what is found out is then kept on disk too.
    ``read`` says how layers that are named are read, so that there is nothing to find out.
    """

    def __init__(
        self,
        module: nn.Module,
        logits_of: Logits,
        key: Mapping[str, Any] | None = None,
        read: Read | None = None,
    ) -> None:
        self._module, self._logits_of, self._key, self._read = module, logits_of, key, read
        self._surveys: dict[Size, Survey] = {}
        self._entries: dict[Size, cache.Entry] = {}

    def default(self, like: Tensor) -> Choice:
        """The layers to look at when none is named, for inputs like ``like`` (channels, height, width).

        Raises:
            LayerError: the model has none.
        """
        entry = self._entry(like)
        if not entry.default:
            choice = choose(self.survey(like), partial(self._probe, like))
            entry.default, entry.remarks = tuple(choice.judged), choice.remarks
            entry.judged.update(choice.judged)
            self._keep(like, entry)
        return Choice({name: entry.judged[name] for name in entry.default}, entry.remarks)

    def judged(self, name: str, like: Tensor) -> Judged | None:
        """What the layer called ``name`` returns, and how sure that is; None if it does not return one tensor,
        once, of which the capture says more.

        Raises:
            LayerError: there is no such layer, or it has no positions.
        """
        entry = self._entry(like)
        if name not in entry.judged:
            self.check(name)
            looked = self.survey(like)
            place = next((place for place in looked.places if place.name == name), None)
            if place is not None and len(place.shapes) == 1 and place.calls == 1:
                found = self._probe(like, {name: place.layouts}, 1) if place.layouts else {}
                if name in found and found[name].verdict != "verified":
                    found = self._probe(like, {name: place.layouts}, THOROUGH)
                if name not in found or found[name].verdict == "contradicted":
                    raise LayerError(_without_positions(looked, name, place.shapes[0], found.get(name)))
                entry.judged.update(found)
                self._keep(like, entry)
        return entry.judged.get(name)

    def check(self, name: str) -> str:
        """``name``, if the model has such a layer.

        Raises:
            LayerError: it has none; close names are offered.
        """
        names = [known for known, _ in self._module.named_modules() if known]
        if name not in names:
            raise LayerError(one_of("layer", name, names, "`camlucida layers MODEL` lists them all"))
        return name

    def _check_gradient(self, name: str, judged: Judged, like: Tensor) -> None:
        """Refuse a layer on no position of which the score depends."""
        layout = judged.layout
        others = layout.prefix + layout.suffix
        if judged.alive * (layout.grid[0] * layout.grid[1] + others) < others + 0.5:
            offer = _offer(self.survey(like), name)
            raise LayerError(
                f"the score does not depend on any position of layer {name!r} (behind it only a class token "
                f"is read, or nothing at all), so that a gradient method has nothing to show: {offer}"
            )

    def survey(self, like: Tensor) -> Survey:
        """All layers."""
        size = _size(like)
        if size not in self._surveys:
            self._surveys[size] = survey(self._module, like, self._logits_of)
        return self._surveys[size]

    def look_at(
        self, names: Sequence[str], like: Tensor, needs: Collection[str]
    ) -> dict[str, tuple[Finding, ...]]:
        """Make sure of layers before a capture with such ``needs``, and say what there is to know of each.

        Raises:
            LayerError: one has no positions, or no gradient where that is needed.
        """
        notes: dict[str, tuple[Finding, ...]] = {}
        for name in names:
            judged = None if self._read else self.judged(name, like)
            if judged is None:
                continue
            if "gradients" in needs:
                self._check_gradient(name, judged, like)
            sure = judged.verdict == "verified"
            unsure = () if sure else (layout_unsure(name, str(judged.layout), judged.verdict),)
            notes[name] = (*unsure, *self._remarks(name, like))
        if "bias_terms" in needs:
            self.default(like)
        return notes

    def _remarks(self, name: str, like: Tensor) -> tuple[Finding, ...]:
        entry = self._entry(like)
        return tuple(layer_chosen(name, one) for one in entry.remarks) if name in entry.default else ()

    def layout_of(self, like: Tensor, name: str, tensor: Tensor) -> Layout | Reshaped:
        """The layout of what the layer has returned, a batch, once ``look_at`` has been called.

        Raises:
            LayerError: it returns something else than before.
        """
        if self._read:
            return self._read(name, tensor, _size(like))
        layout = self._entry(like).judged[name].layout
        if not layout.fits(tuple(tensor.shape)):
            raise LayerError(
                f"layer {name!r} returns {tuple(tensor.shape)} and returned {layout} before, for the same size "
                "of input: choose another (`camlucida layers MODEL` lists those that work)"
            )
        return layout

    def all(self, like: Tensor) -> dict[str, Judged]:
        """What the probe says of every layer that may have positions."""
        places = [place for place in self.survey(like).places if place.layouts and place.calls == 1]
        return self._probe(like, {place.name: place.layouts for place in places}, 1)

    def stages(self, like: Tensor) -> list[str]:
        """The last verified layer of each grid that all paths run through, the latest first."""
        looked = self.survey(like)
        last: dict[Size, str] = {}
        for place in candidates(looked):
            if place.paths == looked.paths:
                last[place.layouts[0].grid] = place.name
        judged = {name: self.judged(name, like) for name in reversed(last.values())}
        return [name for name, one in judged.items() if one and one.verdict == "verified"]

    def grid_of(self, like: Tensor, tensor: Tensor, channels_last: bool) -> Layout | None:
        """The layout of an operation's output whose channels are last or second; None if it has no positions.

        Tokens other than positions are those of the default layer, or none.
        """
        wanted = ("NHWC", "tokens") if channels_last else ("NCHW", "channels-first tokens")
        others = {
            one.layout.prefix + one.layout.suffix: one.layout for one in self.default(like).judged.values()
        }
        for found in readings(tuple(tensor.shape), len(tensor), _size(like)):
            if found.kind in wanted and not found.prefix:
                return found
            if found.kind in wanted and found.prefix in others:
                return replace(others[found.prefix], kind=found.kind, grid=found.grid)
        return None

    def _probe(self, like: Tensor, layouts: Mapping[str, Sequence[Layout]], draws: int) -> dict[str, Judged]:
        alive = {place.name: place.alive for place in self.survey(like).places}
        found = probe(self._module, like, layouts, draws)
        return {name: replace(one, alive=alive[name]) for name, one in found.items()}

    def _entry(self, like: Tensor) -> cache.Entry:
        size = _size(like)
        if size not in self._entries:
            kept = cache.load(self._key_for(like)) if self._key else None
            self._entries[size] = kept or cache.Entry((), (), {})
        return self._entries[size]

    def _keep(self, like: Tensor, entry: cache.Entry) -> None:
        if self._key:
            cache.save(self._key_for(like), entry)

    def _key_for(self, like: Tensor) -> dict[str, Any]:
        return {**(self._key or {}), "input": [*like.shape], "dtype": str(like.dtype)}


def _without_positions(looked: Survey, name: str, shape: tuple[int, ...], found: Judged | None) -> str:
    size = f"{looked.size[0]}×{looked.size[1]}"
    returns = "×".join(map(str, shape))
    if found is None:
        reason = f"layer {name!r} returns {returns}, which for an input of {size} fits no grid of positions"
    else:
        reason = (
            f"layer {name!r} returns {returns}, which looks like {found.layout} but does not answer to "
            "places in the picture in that order"
        )
    return f"{reason}: {_offer(looked, name)}"


def _offer(looked: Survey, name: str) -> str:
    near = nearest(looked, name)
    return (
        f"the nearest layer that works is {near!r}"
        if near
        else "`camlucida layers MODEL` lists those that work"
    )


def _size(like: Tensor) -> Size:
    return int(like.shape[-2]), int(like.shape[-1])
