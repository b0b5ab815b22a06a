"""Score-CAM and Ablation-CAM against their papers, and the running of many variants that they rest on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import snapshot
import zoo
from camlucida import Explainer
from camlucida.capture.borrow import borrowed
from camlucida.capture.chunks import ChunkSize, in_chunks
from camlucida.capture.recording import recorded
from camlucida.capture.replay import ReplayPoint, check, replay, run_in_full
from camlucida.errors import ModelError
from camlucida.heatmaps.examine import WithFindings
from camlucida.methods import registry
from oracles import methods as oracles

METHODS = ["scorecam", "ablationcam"]
EXACT = {"scorecam": {"channels": 0}}
LAYERS = {"resnet": "layer1", "swin": "layers.2.blocks.1.norm2"}  # else the default; fewer channels there


def pictures_for(family: str) -> Tensor:
    side = 32 if family == "resnet" else zoo.SIZE
    return zoo.noise(2, side, side)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def assert_same(found: Tensor, expected: Tensor, share: float = 1e-5) -> None:
    """Equal to ``share`` of the expected map's largest magnitude."""
    assert found.shape == expected.shape
    scale = float(expected.abs().max())
    torch.testing.assert_close(found.double(), expected.double(), rtol=0, atol=share * scale)


# -- pure functions ---------------------------------------------------------------------------------------


def quadratic(variants: Tensor) -> Tensor:
    """Two scores (n, 2) of variants (n, …), of either sign."""
    flat = variants.flatten(1)
    ramp = torch.linspace(-1, 1, flat.shape[1], dtype=torch.float64)
    return torch.stack([flat @ ramp / 4, -1 - (flat * flat) @ ramp.abs() / 50], dim=1)


def running(function: Callable[[Tensor], Tensor], asked: list[int]) -> Callable[..., Tensor]:
    """``score`` or ``resume`` in chunks of three; ``asked`` takes in how many variants there were."""

    def run(make: Callable[[range], Tensor], count: int, picture: int) -> Tensor:
        asked.append(count)
        chunks = [range(start, min(start + 3, count)) for start in range(0, count, 3)]
        return torch.cat([function(make(chunk)) * (picture + 1) for chunk in chunks])

    return run


def mixed() -> Tensor:
    """Activations (2, 8, 3, 4), one channel the same everywhere and one zero, not the same in both."""
    activations = drawn(2, 8, 3, 4)
    activations[0, 2], activations[0, 5] = 0.7, 0.0
    activations[1, 0] = 0.0
    return activations


def scored(activations: Tensor, inputs: Tensor, channels: int, asked: list[int] | None = None) -> WithFindings:
    function = registry.get_method("scorecam").function
    run = running(quadratic, [] if asked is None else asked)
    return function(activations, torch.zeros(len(inputs), 2), inputs, run, channels=channels)


def ablated(activations: Tensor) -> Tensor:
    scores = torch.stack([quadratic(one[None])[0] * (i + 1) for i, one in enumerate(activations)])
    return registry.get_method("ablationcam").function(activations, scores, running(quadratic, []))


def map_of(weights: Tensor, activations: Tensor, picture: int, target: int) -> Tensor:
    return torch.einsum("k,khw->hw", weights[picture, target], activations[picture])


@pytest.mark.parametrize("target", [0, 1])
@pytest.mark.parametrize("picture", [0, 1])
def test_scorecam_equals_its_oracle(picture: int, target: int) -> None:
    activations, inputs = mixed(), drawn(2, 3, 10, 9, seed=1)

    def score(shown: np.ndarray) -> float:
        return float(quadratic(torch.from_numpy(shown)[None])[0, target]) * (picture + 1)

    expected = oracles.scorecam(activations[picture].numpy(), inputs[picture].numpy(), score)
    found = map_of(scored(activations, inputs, 0).values, activations, picture, target)
    assert_same(found, torch.from_numpy(expected), 1e-10)


@pytest.mark.parametrize("target", [0, 1])
@pytest.mark.parametrize("picture", [0, 1])
def test_ablationcam_equals_its_oracle(picture: int, target: int) -> None:
    activations = mixed()

    def score(maps: np.ndarray) -> float:
        return float(quadratic(torch.from_numpy(maps)[None])[0, target]) * (picture + 1)

    expected = oracles.ablationcam(activations[picture].numpy(), score)
    assert_same(map_of(ablated(activations), activations, picture, target), torch.from_numpy(expected), 1e-10)


def test_scorecam_weights_are_shares_of_channels_that_vary() -> None:
    activations, asked = mixed(), []
    result = scored(activations, drawn(2, 3, 10, 9), 0, asked)
    torch.testing.assert_close(result.values.sum(dim=2), torch.ones(2, 2, dtype=torch.float64))
    assert not result.values[0, :, [2, 5]].any()
    assert not result.values[1, :, 0].any()
    assert asked == [6, 7]
    assert result.findings == ((), ())


def test_fast_scorecam_keeps_the_channels_that_vary_most() -> None:
    activations = drawn(1, 7, 4, 4)
    spread = torch.tensor([3.0, 9, 0, 1, 7, 5, 2], dtype=torch.float64)
    activations = activations / activations.std(dim=(2, 3), correction=0, keepdim=True)
    activations *= spread.view(1, -1, 1, 1)
    inputs, asked = drawn(1, 3, 8, 8), []
    result = scored(activations, inputs, 3, asked)
    assert result.values[0, 0].nonzero().flatten().tolist() == [1, 4, 5]
    assert asked == [3]
    (note,) = result.findings[0]
    assert note.code == "channels-left-out"
    assert "3 of the 6" in note.found
    kept = scored(activations[:, [1, 4, 5]], inputs, 0).values
    torch.testing.assert_close(result.values[:, :, [1, 4, 5]], kept)


def test_channels_that_vary_alike_are_kept_in_their_order() -> None:
    activations = drawn(1, 1, 4, 4).expand(1, 40, 4, 4)
    result = scored(activations, drawn(1, 3, 8, 8), 5)
    assert result.values[0, 0].nonzero().flatten().tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("channels", [6, 7, 500])
def test_nothing_is_left_out_where_few_channels_vary(channels: int) -> None:
    activations, inputs = mixed()[:1], drawn(1, 3, 8, 8)
    result = scored(activations, inputs, channels)
    assert result.findings == ((),)
    assert torch.equal(result.values, scored(activations, inputs, 0).values)


def test_layers_without_any_channel_that_varies_run_nothing() -> None:
    asked: list[int] = []
    assert not scored(torch.ones(1, 3, 2, 2), drawn(1, 3, 8, 8), 0, asked).values.any()
    assert asked == []
    assert not ablated(torch.zeros(1, 3, 2, 2, dtype=torch.float64)).any()


def test_a_negative_score_does_not_turn_the_ablation_map_over() -> None:
    """What raises the score is hot, whatever is added to the score."""
    activations = drawn(1, 5, 3, 3).abs()

    def weights(level: float) -> Tensor:
        def score(variants: Tensor) -> Tensor:
            return variants[:, :1].mean(dim=(2, 3)) - variants[:, 1:2].mean(dim=(2, 3)) + level

        function = registry.get_method("ablationcam").function
        return function(activations, score(activations), running(score, []))[0, 0]

    for level in (-8.0, 8.0):
        assert weights(level)[0] > 0
        assert weights(level)[1] < 0


def test_a_score_of_zero_is_no_division_by_zero() -> None:
    found = registry.get_method("ablationcam").function(
        torch.ones(1, 2, 2, 2), torch.zeros(1, 1), running(lambda one: one[:, :1].mean(dim=(2, 3)), [])
    )
    assert found.isfinite().all()


# -- whole models -----------------------------------------------------------------------------------------


class Naive:
    """One picture's full forwards with a hook, one for each question."""

    def __init__(self, module: nn.Module, layer: str, picture: Tensor, index: int) -> None:
        self.module, self.picture, self.index = module, picture, index
        self.layer = module.get_submodule(layer)
        self.output = torch.empty(0)
        self.run(picture, self._keep)
        self.last = self.output.ndim == 4 and self.output.shape[1] == self.output.shape[2]
        self.tokens = self.output.ndim == 3
        self.prefix = int(self.tokens and self.output.shape[1] % 2)  # a class token before an even grid

    def _keep(self, *call: Any) -> None:
        self.output = call[2].clone()

    @torch.no_grad()
    def run(self, picture: Tensor, hook: Callable[..., Any] | None = None) -> float:
        handle = self.layer.register_forward_hook(hook) if hook else None
        score = self.module(picture[None])[0, self.index]
        if handle:
            handle.remove()
        return float(score)

    def maps(self) -> np.ndarray:
        if self.tokens:
            own = self.output[0, self.prefix :].T
            side = int(own.shape[1] ** 0.5)
            return own.reshape(-1, side, side).numpy()
        return (self.output[0].permute(2, 0, 1) if self.last else self.output[0]).numpy()

    def of_picture(self, picture: np.ndarray) -> float:
        return self.run(torch.from_numpy(picture))

    def of_maps(self, maps: np.ndarray) -> float:
        own = torch.from_numpy(maps)[None]
        if self.tokens:
            own = torch.cat([self.output[:, : self.prefix], own.flatten(2).mT], dim=1)
        elif self.last:
            own = own.permute(0, 2, 3, 1)
        return self.run(self.picture, lambda *_: own.clone())

    def expected(self, method: str) -> Tensor:
        if method == "scorecam":
            return torch.from_numpy(oracles.scorecam(self.maps(), self.picture.numpy(), self.of_picture))
        return torch.from_numpy(oracles.ablationcam(self.maps(), self.of_maps))


def explained(
    module: nn.Module, pictures: Tensor, methods: Sequence[str] = ("gradcam",), **more: Any
) -> list[Any]:
    options = {name: value for name, value in EXACT.items() if name in methods}
    return Explainer(module).explain(pictures, methods, options=options, **more)


@pytest.mark.parametrize("family", zoo.FAMILIES)
def test_both_equal_their_oracles_on_whole_models(family: str) -> None:
    module, pictures = zoo.FAMILIES[family]().double(), pictures_for(family).double()
    found = explained(module, pictures, METHODS, targets=[None, 3], layers=[LAYERS.get(family)])
    for place, one in enumerate(found):
        if place in (2, 5):  # the first picture's top class by ablation, the other's class 3 by score
            naive = Naive(module, one.layer, pictures[place // 4], one.index)
            expected = naive.expected(one.method)
            assert not zoo.is_flat(expected)
            assert_same(one.heatmap, expected)


@pytest.mark.parametrize("family", zoo.FAMILIES)
def test_all_at_once_equals_one_at_a_time(family: str) -> None:
    """Pictures, targets and layers."""
    module, pictures = zoo.FAMILIES[family]().double(), pictures_for(family)
    layers = {"resnet": ["layer1", "layer1.0.conv1"], "vit": ["blocks.1", "blocks.2.norm1"]}.get(family)
    names = layers or (["layers.2", "layers.3.blocks.0"] if family == "swin" else ["stages.2", "stages.3"])
    options: dict[str, dict[str, Any]] = {"scorecam": {"channels": 9}}
    explainer = Explainer(module)
    together = explainer.explain(pictures, METHODS, [None, 3], names, options)
    alone = [
        explainer.explain(picture, [method], [target], [name], {method: options.get(method, {})})[0]
        for picture in pictures
        for name in names
        for method in METHODS
        for target in (None, 3)
    ]
    for one, expected in zip(together, alone, strict=True):
        assert (one.method, one.layer, one.index) == (expected.method, expected.layer, expected.index)
        assert_same(one.heatmap, expected.heatmap)
        assert one.health == expected.health


# -- running what follows a layer -------------------------------------------------------------------------


class Trap(nn.Module):
    """Convolutions with something awkward between them; ``layer`` is where variants are put in."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, stride=4, padding=1)
        self.layer = nn.Conv2d(6, 6, 3, padding=1)
        self.tail = nn.Conv2d(6, 6, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(6, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.between(inputs).mean(dim=(2, 3)))

    def between(self, inputs: Tensor) -> Tensor:
        raise NotImplementedError


class InPlaceBehind(Trap):
    def between(self, inputs: Tensor) -> Tensor:
        return self.tail(self.relu(self.layer(self.relu(self.stem(inputs)))))


class InPlaceAdd(Trap):
    """Writes to what came before the layer, and to what the layer returned."""

    def between(self, inputs: Tensor) -> Tensor:
        before = self.stem(inputs)
        found = self.layer(before)
        before += found
        found *= 2
        return self.tail(before) + found


class InPlaceInput(Trap):
    """Normalises its own input in place."""

    def between(self, inputs: Tensor) -> Tensor:
        inputs -= 0.5
        return self.tail(self.layer(self.stem(inputs)).tanh())


class Twice(Trap):
    """One module before the layer and again behind it."""

    def between(self, inputs: Tensor) -> Tensor:
        return self.tail(self.layer(self.tail(self.stem(inputs)).tanh())).tanh()


class Several(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(6, 6, 3, padding=1)

    def forward(self, maps: Tensor) -> dict[str, Any]:
        return {"map": self.conv(maps), "more": (maps * 2, 3, None), "level": maps.new_ones(())}


class Containers(Trap):
    """Tuples and dicts pass between modules."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Several(), Several()

    def between(self, inputs: Tensor) -> Tensor:
        first = self.first(self.stem(inputs))
        found = self.layer(first["map"]).tanh()
        second = self.second(found)
        return second["map"] * first["level"] + first["more"][0] * first["more"][1] + second["more"][0]


class Transformer(nn.Module):
    """PyTorch's own encoder, with a fused path that calls no modules."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 16, stride=16)
        block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(block, 3, enable_nested_tensor=False)
        self.head = nn.Linear(8, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.encoder(self.stem(inputs).flatten(2).mT).mean(dim=1))


class OfTheBatch(Trap):
    """What follows the layer depends on the other pictures."""

    def between(self, inputs: Tensor) -> Tensor:
        found = self.layer(self.stem(inputs)).tanh()
        return self.tail(found - 0.5 * found.mean(dim=0, keepdim=True)).tanh()


def frozen() -> nn.Module:
    return zoo.resnet().requires_grad_(False)


TRAPS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "in-place ReLU behind": (InPlaceBehind, "layer"),
    "in-place add": (InPlaceAdd, "layer"),
    "in-place input": (InPlaceInput, "layer"),
    "called twice": (Twice, "layer"),
    "containers": (Containers, "layer"),
    "transformer": (Transformer, "encoder.layers.1"),
    "inside the transformer": (Transformer, "encoder.layers.1.norm1"),
    "frozen": (frozen, "layer3"),
    "resnet": (zoo.resnet, "layer2.0.conv1"),
    "vit": (zoo.vit, "blocks.1.norm1"),
    "vit, attention": (zoo.vit, "blocks.2.attn"),
    "swin": (zoo.swin, "layers.1"),
    "swin, behind windows": (zoo.swin, "layers.1.blocks.0.norm2"),
    "swin, behind shifted windows": (zoo.swin, "layers.2.blocks.1.norm2"),
    "convnext": (zoo.convnext, "stages.2.blocks.0.norm"),
    "convnext_channels_first": (zoo.convnext_channels_first, "stages.2.blocks.0.norm"),
}


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(("build", "layer"), TRAPS.values(), ids=TRAPS.keys())
def test_resuming_equals_running_in_full(build: Callable[[], nn.Module], layer: str, batch: int) -> None:
    module, pictures = zoo.redraw(build()), zoo.noise(batch)
    before, kept, index = snapshot.take(module), pictures.clone(), batch // 2
    with borrowed(module):
        with recorded(module, [layer], batch) as (recording,):
            outputs = module(pictures.clone())
        tail = ReplayPoint(module, recording, pictures[index], index, lambda output: output)
        assert check(tail, outputs[index : index + 1])
        own = tail.own
        noise = torch.randn(4, *own.shape[1:], generator=torch.Generator().manual_seed(3))
        variants = torch.cat([own, own * 0, own * noise])
        expected = run_in_full(tail, variants.clone())
        for _ in range(2):  # a replay leaves the recording as it was
            assert_same(replay(tail, variants.clone()), expected)
        assert_same(expected[:1], module(pictures[index][None].clone()))
    assert (expected.std(dim=0) > 1e-3 * expected.abs().max()).any()
    assert torch.equal(pictures, kept)
    snapshot.assert_same(before, snapshot.take(module))


@pytest.mark.parametrize("kind", ["in-place add", "called twice", "containers"])
def test_ablationcam_is_right_in_traps(kind: str) -> None:
    build, layer = TRAPS[kind]
    module, picture = zoo.redraw(build()).double(), zoo.noise().double()
    (found,) = explained(module, picture, ["ablationcam"], targets=[2], layers=[layer])
    naive = Naive(module, layer, picture[0], 2)
    naive.last = False
    assert_same(found.heatmap, naive.expected("ablationcam"))
    assert found.findings == ()


def test_a_tail_that_depends_on_the_batch_is_run_in_full_and_said() -> None:
    module, picture = zoo.redraw(OfTheBatch()).double(), zoo.noise().double()
    (found,) = explained(module, picture, ["ablationcam"], targets=[2], layers=["layer"])
    assert [note.code for note in found.findings] == ["resume-fallback", "leans-on-batch"]
    naive = Naive(module, "layer", picture[0], 2)
    naive.last = False
    expected = naive.expected("ablationcam")
    assert not zoo.is_flat(expected)
    assert_same(found.heatmap, expected)


@pytest.mark.parametrize("part", ["stem", "tail"])
@pytest.mark.parametrize("runs", range(6))
@pytest.mark.parametrize("method", METHODS)
def test_the_model_is_as_before_after_an_error(method: str, runs: int, part: str) -> None:
    """Whether what raises would have been replayed or not, and whichever run it is in."""
    module = zoo.redraw(InPlaceAdd())
    module.tail.forward = module.tail.forward  # one set on the instance stays
    left = [runs]

    def stop(*_: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise ZeroDivisionError

    module.get_submodule(part).register_forward_hook(stop)
    before = snapshot.take(module)
    try:
        explained(module, zoo.noise(), [method], layers=["layer"])
    except ZeroDivisionError:
        assert left[0] < 0
    else:
        assert left[0] >= 0
    snapshot.assert_same(before, snapshot.take(module))
    assert runs > 2 or left[0] < 0


# -- chunks -----------------------------------------------------------------------------------------------


def test_the_pace_grows_while_that_pays_and_settles() -> None:
    """The best of three trials counts."""
    pace, sizes = ChunkSize(size=4, largest=64), []
    for seconds in (9.0, 1.0, 2.0, 0.9, 0.9, 0.8, 0.79, 3.0, 3.0, 0.1, 0.1):
        pace.learn(seconds)
        sizes.append((pace.size, pace.settled))
    assert sizes == [*zip([4, 4, 8, 8, 8, 16, 16, 16], [False] * 8, strict=True), *[(8, True)] * 3]


def test_the_pace_stops_at_the_largest() -> None:
    pace = ChunkSize(size=4, largest=20)
    for seconds in (1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.2, 0.2, 0.2, 0.1):
        pace.learn(seconds)
    assert (pace.size, pace.settled) == (16, True)


@pytest.mark.parametrize("count", [1, 3, 4, 5, 17, 130])
def test_chunks_give_all_rows_in_order(count: int) -> None:
    found = in_chunks(lambda indices: torch.tensor([[i, -i] for i in indices]), count, ChunkSize())
    assert found.tolist() == [[i, -i] for i in range(count)]


class OfLittleRoom(nn.Module):
    """Runs out of memory above ``room`` pictures at once."""

    def __init__(self, room: int, error: Exception) -> None:
        super().__init__()
        self.network, self.room, self.error = zoo.redraw(zoo.resnet()), room, error

    def forward(self, inputs: Tensor) -> Tensor:
        if len(inputs) > self.room:
            raise self.error
        return self.network(inputs)


ENDS = [
    torch.OutOfMemoryError("no room"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: …"),
    MemoryError(),
]


@pytest.mark.parametrize("error", ENDS, ids=["cuda", "cpu", "python"])
def test_a_batch_larger_than_memory_is_halved_and_said(error: Exception) -> None:
    module, pictures = OfLittleRoom(2, error), zoo.noise(5)
    found = explained(module, pictures, ["gradcam"], targets=[1], layers=["network.layer4"])
    wanted = explained(module.network, pictures, ["gradcam"], targets=[1], layers=["layer4"])
    assert [[note.code for note in one.findings] for one in found] == [["memory-ended"]] * 5
    for one, other in zip(found, wanted, strict=True):
        assert_same(one.heatmap, other.heatmap)


@pytest.mark.parametrize("method", METHODS)
def test_fewer_variants_at_once_are_said(method: str) -> None:
    module, picture = OfLittleRoom(3, ENDS[0]), zoo.noise()
    (found,) = explained(module, picture, [method], targets=[1], layers=["network.layer3"])
    (wanted,) = explained(module.network, picture, [method], targets=[1], layers=["layer3"])
    assert [note.code for note in found.findings] == ["memory-ended"]
    assert wanted.findings == ()
    assert_same(found.heatmap, wanted.heatmap)


def test_another_runtime_error_is_not_taken_for_memory() -> None:
    with pytest.raises(ModelError, match="no such thing"):
        explained(OfLittleRoom(0, RuntimeError("no such thing")), zoo.noise(), layers=["network.layer4"])


@pytest.mark.parametrize("room", [1, 2, 3, 9])
def test_chunks_shrink_where_memory_ends(room: int) -> None:
    sizes: list[int] = []

    def run(indices: range) -> Tensor:
        if len(indices) > room:
            raise torch.OutOfMemoryError("no room")
        sizes.append(len(indices))
        return torch.tensor([float(i) for i in indices])

    pace = ChunkSize(size=16)
    assert in_chunks(run, 37, pace).tolist() == list(range(37))
    assert pace.settled
    assert max(sizes) == pace.size == {1: 1, 2: 2, 3: 2, 9: 8}[room]


def test_one_variant_too_many_is_said() -> None:
    def run(_indices: range) -> Tensor:
        raise torch.OutOfMemoryError("no room")

    with pytest.raises(ModelError, match="smaller model"):
        in_chunks(run, 8, ChunkSize())
