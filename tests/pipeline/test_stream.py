"""Streams, sessions and captures: pictures decoded ahead, explained in batches, the model borrowed once."""

import gc
import pickle
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import zoo
from camlucida import Explainer, Explanation, PerPicture
from camlucida.capture.borrow import borrowed
from camlucida.capture.extra_inputs import extra_inputs, rows_in_batch
from camlucida.errors import CamlucidaWarning, LayerError, NotFinite, OptionError, PictureError, TargetError
from camlucida.models.inputs import decoder_of
from camlucida.pipeline.explanations import Explanations
from camlucida.pipeline.stream import _decoded
from snapshot import take

NUMBERS = {"size": zoo.SIZE, "mean": 0.5, "std": 0.5}


def picture(seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture(scope="module")
def explainer() -> Explainer:
    return Explainer(zoo.resnet(), preprocess=NUMBERS, batch_size=2)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for seed in range(5):
        picture(seed).save(tmp_path / f"{seed}.png")
    return tmp_path


def maps(explanations: Any) -> list[Tensor]:
    return [one.heatmap for one in explanations]


def assert_same(found: Any, expected: Any) -> None:
    pairs = list(zip(maps(found), maps(expected), strict=True))
    assert pairs
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


# -- what a stream takes ----------------------------------------------------------------------------------


def test_explain_is_the_list_of_the_stream(explainer: Explainer) -> None:
    pictures = [picture(seed) for seed in range(5)]
    methods = ["gradcam", "layercam"]
    found = explainer.explain(pictures, methods, [1, 2])
    assert isinstance(found, Explanations)
    assert_same(explainer.stream(pictures, methods, [1, 2]), found)
    assert [one.picture_id for one in found] == [f"#{i}" for i in range(5) for _ in range(4)]
    alone = [one for each in pictures for one in explainer.explain(each, methods, [1, 2])]
    assert_same(alone, found)


def test_folders_patterns_and_generators(explainer: Explainer, photos: Path) -> None:
    files = sorted(photos.glob("*.png"))
    expected = explainer.explain(files, targets=[1])
    assert [one.source for one in expected] == files
    for given in (photos, str(photos), str(photos / "*.png"), (one for one in files), [photos]):
        found = explainer.explain(given, targets=[1])
        assert [one.source for one in found] == files
        assert_same(found, expected)
    with pytest.raises(PictureError, match="no file matches"):
        explainer.explain(str(photos / "*.gif"))
    with pytest.raises(OptionError, match="at least one picture"):
        explainer.explain(iter(()))


def test_a_stream_reads_no_further_ahead_than_it_must(explainer: Explainer) -> None:
    taken: list[int] = []

    def endless() -> Iterator[Image.Image]:
        seed = 0
        while True:
            taken.append(seed)
            yield picture(seed % 3)
            seed += 1

    stream = explainer.stream(endless(), targets=[1])
    for _ in range(6):
        assert isinstance(next(stream), Explanation)
    stream.close()  # type: ignore[attr-defined]
    assert len(taken) <= 6 + 2 * explainer.batch_size + explainer.batch_size + 1


def test_memory_stays_flat(explainer: Explainer) -> None:
    """What was given out and dropped is gone: pictures and maps of earlier batches are not kept."""
    alive: list[weakref.ref[Explanation]] = []
    most = 0
    for one in explainer.stream((picture(seed) for seed in range(24)), targets=[1]):
        alive.append(weakref.ref(one))
        gc.collect()
        most = max(most, sum(ref() is not None for ref in alive))
    assert most <= 2 * explainer.batch_size


def test_a_batch_has_as_many_inputs_as_was_said(explainer: Explainer) -> None:
    """Views are inputs as well."""
    sizes: list[int] = []
    hook = explainer.module.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    inputs = zoo.noise(5)
    explainer.explain(inputs, targets=[1])
    sizes.clear()
    explainer.explain(inputs, targets=[1])
    plain = list(sizes)
    sizes.clear()
    found = explainer.explain(inputs[:2], targets=[1], smooth="aug")
    hook.remove()
    assert (plain, sizes) == ([2, 2, 1], [2, 2, 2] * 2)
    whole = Explainer(explainer.module, batch_size=12).explain(inputs[:2], targets=[1], smooth="aug")
    assert_same(found, whole)
    for one, other in zip(found, whole, strict=True):
        assert one.spread is not None
        assert other.spread is not None
        torch.testing.assert_close(one.spread, other.spread, rtol=1e-4, atol=1e-5)


def test_targets_of_their_own_are_counted_as_they_come(explainer: Explainer) -> None:
    pictures = [picture(seed) for seed in range(3)]
    found = list(explainer.stream(iter(pictures), targets=[PerPicture([1, 2, 3])]))
    assert [one.index for one in found] == [1, 2, 3]
    with pytest.raises(TargetError, match="got 2 for 3 pictures"):
        list(explainer.stream(iter(pictures), targets=[PerPicture([1, 2])]))


# -- errors -----------------------------------------------------------------------------------------------


@pytest.fixture
def damaged(photos: Path) -> Path:
    (photos / "2.png").write_bytes(b"\x89PNG\r\n\x1a\nxx")
    return photos


def test_the_first_error_is_raised_and_what_came_before_is_given_out(
    explainer: Explainer, damaged: Path
) -> None:
    stream = explainer.stream(damaged, targets=[1])
    assert [next(stream).source, next(stream).source] == [damaged / "0.png", damaged / "1.png"]
    with pytest.raises(PictureError, match=r"2\.png"):
        next(stream)


def test_skipping_goes_on_and_warns(explainer: Explainer, damaged: Path) -> None:
    with pytest.warns(CamlucidaWarning, match=r"picture 2 is skipped: .*2\.png"):
        found = explainer.explain(damaged, targets=[1], on_error="skip")
    assert [one.source for one in found] == [damaged / f"{i}.png" for i in (0, 1, 3, 4)]


def test_one_error_for_all_is_no_reason_to_skip(explainer: Explainer) -> None:
    with pytest.raises(LayerError, match="nonesuch"), pytest.warns(CamlucidaWarning):
        explainer.explain(zoo.noise(2), layers="nonesuch", on_error="skip")
    with pytest.raises(OptionError, match="'raise' or 'skip'"):
        explainer.explain(zoo.noise(2), on_error="ignore")  # type: ignore[arg-type]


class Sometimes(nn.Module):
    """NaN for inputs that are bright."""

    def __init__(self) -> None:
        super().__init__()
        self.network = zoo.resnet()

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.network(inputs)
        return logits.where(inputs.mean(dim=(1, 2, 3))[:, None] < 5, float("nan"))


@pytest.mark.parametrize("bright", [[0], [0, 1], [2, 3], [0, 1, 2], [4]])
def test_nan_for_some_pictures_wherever_they_are(bright: list[int]) -> None:
    inputs = zoo.noise(5)
    inputs[bright] += 10
    found = Explainer(Sometimes(), batch_size=2).explain(inputs, targets=[1])
    assert [one.picture_id for one in found] == [f"#{i}" for i in range(5)]
    blank = [i for i, one in enumerate(found) if "not-finite" in [finding.code for finding in one.health]]
    assert blank == bright
    with pytest.raises(NotFinite):
        Explainer(Sometimes(), batch_size=2).explain(inputs + 10, targets=[1])


# -- sessions ---------------------------------------------------------------------------------------------


def test_a_session_gives_the_model_back_exactly_as_it_was() -> None:
    module = zoo.resnet().train()
    explainer = Explainer(module, batch_size=2)
    expected = Explainer(module).explain(zoo.noise(3), targets=[1])
    before = take(module)
    with explainer.session():
        assert not module.training
        first = explainer.explain(zoo.noise(3), targets=[1])
        second = explainer.explain(zoo.noise(3), ["layercam"], [1, 2], smooth="aug")
        assert not module.training
        assert len(second) == 6
    assert module.training
    assert take(module).facts == before.facts
    assert_same(first, expected)


def test_a_session_remembers_and_looks_at_nothing_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A borrow within a session only passes the module on."""
    module = zoo.resnet()
    explainer = Explainer(module)
    explainer.explain(zoo.noise(), targets=[1])
    calls: list[str] = []
    monkeypatch.setattr("camlucida.capture.borrow.remember", lambda *_: calls.append("remember"))
    with pytest.raises(AttributeError), explainer.session():
        pass  # the patched one gives nothing to put back
    calls.clear()
    monkeypatch.undo()
    with explainer.session():
        monkeypatch.setattr("camlucida.capture.borrow.remember", lambda *_: calls.append("remember"))
        explainer.explain(zoo.noise(), targets=[1])
        with borrowed(module):
            pass
        monkeypatch.undo()
    assert calls == []


class Conditioned(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.network = zoo.resnet()

    def forward(self, inputs: Tensor, *, scale: Tensor) -> Tensor:
        logits: Tensor = self.network(inputs * scale.view(-1, 1, 1, 1))
        return logits


def test_extra_inputs_reach_the_model_in_a_session() -> None:
    inputs, scale = zoo.noise(4), torch.tensor([0.5, 1.0, 1.5, 2.0])
    explainer = Explainer(Conditioned(), kwargs={"scale": scale}, batch_size=2)
    expected = explainer.explain(inputs, targets=[1])
    with explainer.session():
        assert_same(explainer.explain(inputs, targets=[1]), expected)
        assert_same(explainer.explain(inputs, targets=[1]), expected)
    assert not explainer.module._forward_pre_hooks


def test_the_innermost_extra_inputs_count() -> None:
    """As where a metric runs variants of one picture of many."""
    scale = torch.tensor([0.5, 1.0, 1.5, 2.0])
    explainer = Explainer(Conditioned(), kwargs={"scale": scale[:1]})
    module, inputs = explainer.module, zoo.noise(2)
    with explainer.session(), extra_inputs(module, (), {"scale": scale}, 4):
        with extra_inputs(module, (), {"scale": scale[2:3]}, 1), torch.no_grad():
            inner = module(inputs)
        with rows_in_batch([1, 3]), torch.no_grad():
            outer = module(inputs)
    torch.testing.assert_close(inner, module.network(inputs * 1.5).detach())
    torch.testing.assert_close(outer, module.network(inputs * scale[[1, 3]].view(-1, 1, 1, 1)).detach())


# -- captures ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["resnet", "vit", "swin", "convnext"])
def test_a_capture_is_what_plain_hooks_see(family: str) -> None:
    module = getattr(zoo, family)()
    explainer = Explainer(module)
    inputs = zoo.noise(2)
    capture = explainer.capture(inputs, targets=[3, 7])
    (layer,) = capture.names
    kept: list[Tensor] = []

    def keep(_: nn.Module, __: Any, output: Tensor) -> None:
        output.retain_grad()
        kept.append(output)

    hook = module.get_submodule(layer).register_forward_hook(keep)
    logits = module(inputs.clone().requires_grad_())
    hook.remove()
    torch.testing.assert_close(capture.outputs, logits.detach(), rtol=1e-4, atol=1e-4)
    logits[:, 7].sum().backward()
    captured = capture[layer][1]
    layout = explainer.inspector.layout_of(inputs[0], layer, kept[0])
    assert kept[0].grad is not None
    torch.testing.assert_close(captured.activations, layout.to_maps(kept[0].detach()), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(captured.gradients, layout.to_maps(kept[0].grad), rtol=1e-3, atol=1e-5)
    assert captured.activations.shape[0] == 2
    assert explainer.capture(inputs, layers=layer, gradients=False)[layer][0].gradients is None
    with pytest.raises(KeyError, match="'nonesuch' was not captured"):
        capture["nonesuch"]


# -- lists, decoders --------------------------------------------------------------------------------------


def test_some_of_many(explainer: Explainer, photos: Path) -> None:
    layers = ["layer3", "layer4"]
    found = explainer.explain(photos, ["gradcam", "gradcam++"], [1, 2], layers)
    assert repr(found) == "<40 Explanations: 5 pictures × 2 layers × 2 methods × 2 targets>"
    some = found.select(method="GradCAM++", layer="layer4", target=2)
    assert [(one.method, one.layer, one.index) for one in some] == [("gradcam++", "layer4", 2)] * 5
    assert some.heatmaps().shape == (5, 2, 2)
    assert torch.equal(some.heatmaps()[3], some[3].heatmap)
    (only,) = some.select(picture=photos / "3.png")
    assert only is some[3]
    assert explainer.explain(zoo.noise(2), targets=[1]).select(picture=1)[0].picture_id == "#1"
    with pytest.raises(OptionError, match="2×2, 4×4"):
        found.heatmaps()
    assert "picture" not in repr(found.select(method="nonesuch"))


def test_a_map_is_small_and_its_own(explainer: Explainer) -> None:
    found = explainer.explain(zoo.noise(4), ["gradcam", "layercam"], [1, 2])
    for one in found:
        assert one.heatmap.untyped_storage().nbytes() == one.heatmap.nbytes
    before = [one.heatmap.clone() for one in found]
    found[0].heatmap.fill_(7)
    assert all(torch.equal(one.heatmap, kept) for one, kept in zip(found[1:], before[1:], strict=True))


def test_a_worker_process_decodes(explainer: Explainer, photos: Path) -> None:
    decoder = decoder_of(explainer.adapter, explainer.preprocess)
    assert len(pickle.dumps(decoder)) < 10_000, "the model is no part of it"
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        found = pool.submit(decoder, photos / "1.png", 1).result()
    here = decoder(photos / "1.png", 1)
    assert torch.equal(found.tensor, here.tensor)
    assert (found.frame, found.source, found.number) == (here.frame, here.source, 1)


def test_decoding_keeps_the_order_whatever_takes_long(explainer: Explainer) -> None:
    """Later pictures are ready sooner."""

    def preprocess(one: Image.Image) -> Any:
        time.sleep(0.02 * (5 - one.width % 10))
        return explainer.preprocess(one)

    decoder = decoder_of(explainer.adapter, preprocess)  # type: ignore[arg-type]
    pictures = [picture(0).resize((60 + i, 60)) for i in range(5)]
    assert [one.number for one in _decoded(pictures, decoder, 4)] == [0, 1, 2, 3, 4]
