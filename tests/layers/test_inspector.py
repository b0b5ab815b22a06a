"""What is known of layers: by name, on disk, for every size of input; what a model takes beside the picture."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn

import snapshot
import zoo
from camlucida import Explainer
from camlucida.capture.logits import logits_of
from camlucida.cli import main
from camlucida.errors import LayerError, ModelError, OptionError
from camlucida.layers import cache
from camlucida.layers.inspector import LayerInspector
from camlucida.layers.names import check_layer
from camlucida.pipeline.provenance import versions
from camlucida.pipeline.settings import cache_key

KEY = {"model": "some", "versions": "1"}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMLUCIDA_CACHE", str(tmp_path / "cache"))


def like(size: int = zoo.SIZE) -> Tensor:
    return torch.zeros(3, size, size)


SEEN: list[int] = []  # beside the module, whose own lists are put back


class Counting(nn.Module):
    """A ViT that counts the pictures it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.network = zoo.vit(dynamic_img_size=True)
        SEEN.clear()

    def forward(self, inputs: Tensor) -> Tensor:
        SEEN.append(len(inputs))
        return self.network(inputs)


def test_what_was_found_out_is_kept_on_disk_and_costs_nothing_the_second_time() -> None:
    first = LayerInspector(Counting(), logits_of, KEY).default(like())
    module = Counting()
    second = LayerInspector(module, logits_of, KEY)
    assert second.default(like()) == first
    assert second.verdict_of("network.blocks.2.norm1", like()) == first.verdicts["network.blocks.2.norm1"]
    assert SEEN == []
    LayerInspector(module, logits_of, {**KEY, "versions": "2"}).default(like())
    assert [2, *[1] * 8] == SEEN


def test_locating_takes_ten_pictures_run_mostly_alone() -> None:
    known = LayerInspector(Counting(), logits_of)
    known.default(like())
    known.default(like())
    known.verdict_of("network.blocks.2.norm1", like())
    assert [2, *[1] * 8] == SEEN


@pytest.mark.parametrize("text", ["", "{", "[]", '{"key": 1}', "\x00"])
def test_a_corrupt_entry_is_ignored_and_written_anew(text: str) -> None:
    LayerInspector(zoo.vit(), logits_of, KEY).default(like())
    (file,) = (cache.folder() / "layers").glob("*.json")
    good = file.read_text(encoding="utf-8")
    file.write_text(text, encoding="utf-8")
    assert tuple(LayerInspector(zoo.vit(), logits_of, KEY).default(like()).verdicts) == ("blocks.2.norm1",)
    assert json.loads(file.read_text(encoding="utf-8")) == json.loads(good)


def test_a_cache_that_cannot_be_written_to_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CAMLUCIDA_CACHE", str(tmp_path / "file"))
    assert LayerInspector(zoo.vit(), logits_of, KEY).default(like()).verdicts


def test_models_of_ones_own_and_those_asked_for_anew_leave_nothing_on_disk() -> None:
    Explainer(zoo.resnet()).explain(zoo.noise())
    Explainer("resnet10t", weights="random", cache=False).explain(zoo.noise())
    assert not cache.folder().exists()
    Explainer("resnet10t", weights="random").explain(zoo.noise())
    assert len(list((cache.folder() / "layers").iterdir())) == 1


def test_the_cache_is_cleared_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    LayerInspector(zoo.vit(), logits_of, KEY).default(like())
    for said in ("1 entry removed", "0 entries removed"):
        with pytest.raises(SystemExit) as ended:
            main(["cache", "clear"])
        assert not ended.value.code
        assert capsys.readouterr().out.startswith(said)


def test_another_size_of_input_has_its_own_grid() -> None:
    known = LayerInspector(zoo.vit(dynamic_img_size=True), logits_of)
    grids = [known.default(like(size)).verdicts["blocks.2.norm1"].layout.grid for size in (64, 96, 64)]
    assert grids == [(4, 4), (6, 6), (4, 4)]


# Layers by name


def test_a_name_is_checked_and_close_ones_are_offered() -> None:
    module = zoo.resnet()
    assert check_layer(module, "layer4.0.conv2") == "layer4.0.conv2"
    for wrong, close in {
        "layer5": "'layer4'",
        "Layer4": "'layer4'",
        "layer4.0.conv9": "'layer4.0.conv1'",
    }.items():
        with pytest.raises(LayerError, match=f"did you mean .*{close}"):
            check_layer(module, wrong)
    for nothing in ("", "qqqq"):  # the model itself is no layer
        with pytest.raises(LayerError, match=r"is not known: `camlucida layers MODEL`"):
            check_layer(module, nothing)


def test_a_layer_without_positions_is_refused_with_the_nearest_that_works() -> None:
    with pytest.raises(LayerError, match=r"fits no grid .* nearest layer that works is 'layer4'"):
        LayerInspector(zoo.resnet(), logits_of).verdict_of("fc", like())


def test_a_layer_without_gradient_is_refused_where_one_is_needed() -> None:
    explainer = Explainer(zoo.vit())
    with pytest.raises(
        LayerError, match=r"any position of layer 'blocks\.2\.norm2'.*works is 'blocks\.2\.norm1'"
    ):
        explainer.explain(zoo.noise(), ["gradcam"], layers=["blocks.2.norm2"])
    assert explainer.explain(zoo.noise(), ["eigencam"], layers=["blocks.2.norm2"])


class Turned(nn.Module):
    """Its tokens run column by column."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 8, 8)
        self.tokens, self.head = nn.Linear(16, 16), nn.Linear(16, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.tokens(self.patches(inputs).transpose(2, 3).flatten(2).transpose(1, 2)).mean(1))


def test_tokens_in_another_order_are_refused_and_not_taken_by_default() -> None:
    module = zoo.redraw(Turned())
    with pytest.raises(LayerError, match=r"looks like tokens 8×8 but does not answer .* works is"):
        LayerInspector(module, logits_of).verdict_of("tokens", like())
    assert tuple(LayerInspector(module, logits_of).default(like()).verdicts) == ("patches",)


class Latents(nn.Module):
    """Reads the picture into 16 vectors, which look like a grid of 4×4 and are none."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.latents = nn.Linear(3 * 64 * 64, 16 * 8), nn.Unflatten(1, (16, 8))
        self.mix, self.head = nn.LayerNorm(8), nn.Linear(8, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.mix(self.latents(self.read(inputs.flatten(1)))).mean(dim=1))


def test_a_model_without_positions_is_refused() -> None:
    with pytest.raises(LayerError, match="do not answer to places in the picture"):
        Explainer(zoo.redraw(Latents())).explain(zoo.noise())
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 3))
    with pytest.raises(LayerError, match="no layer whose output has positions"):
        Explainer(zoo.redraw(flat)).explain(zoo.noise())


def test_a_score_that_does_not_depend_on_the_picture_is_refused() -> None:
    class Detached(nn.Sequential):
        def forward(self, inputs: Tensor) -> Tensor:
            return super().forward(inputs).detach()

    module = Detached(nn.Conv2d(3, 4, 8, 8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    with pytest.raises(LayerError, match="does not depend on the picture"):
        Explainer(zoo.redraw(module)).explain(zoo.noise())


# Sequence first, branches


class SequenceFirst(nn.Module):
    """Tokens of shape (tokens, batch, channels), and a head that reads their mean."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 16, 16)
        self.norm, self.mlp, self.head = nn.LayerNorm(16), nn.Linear(16, 16), nn.Linear(16, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        tokens = self.norm(self.patches(inputs).flatten(2).permute(2, 0, 1))
        return self.head((tokens + self.mlp(tokens).relu()).mean(dim=0))


@pytest.mark.parametrize("method", ["hirescam", "ablationcam", "scorecam", "eigencam"])
def test_sequence_first_tokens_are_explained_like_batch_first_ones(method: str) -> None:
    module, pictures = zoo.redraw(SequenceFirst()).double(), zoo.noise(3, 64, 96).double()
    explainer = Explainer(module)
    together = explainer.explain(pictures, [method], [1])
    assert {(one.provenance.layer, one.provenance.layout) for one in together} == {
        ("norm", "sequence-first tokens 4×6")
    }
    for one, picture in zip(together, pictures, strict=True):
        (alone,) = explainer.explain(picture, [method], [1])
        assert not zoo.is_flat(alone.heatmap)
        torch.testing.assert_close(one.heatmap, alone.heatmap, rtol=1e-5, atol=1e-6)


def test_branches_side_by_side_have_a_layer_each_and_say_so() -> None:
    module = timm.create_model("crossvit_tiny_240", num_classes=10)
    before = snapshot.take(zoo.redraw(module))
    (found,) = Explainer(module).explain(zoo.noise(1, 240, 240))
    assert found.provenance.layer == "blocks.2.blocks.0+blocks.2.blocks.1"
    assert found.provenance.layout == "tokens 20×20 behind 1 + tokens 14×14 behind 1"
    assert "layer-choice" in [note.code for note in found.findings]
    assert found.heatmap.shape == (20, 20)
    snapshot.assert_same(before, snapshot.take(module))


# Beside the picture


class Told(nn.Module):
    """Takes a vector and a flag beside the picture."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.head = nn.Conv2d(3, 4, 4, 4), nn.Linear(4, 3)

    def forward(self, inputs: Tensor, gain: Tensor, *, negative: bool) -> Tensor:
        maps = self.convolution(inputs).relu() * gain[:, :, None, None]
        assert len(gain) == len(inputs)
        return self.head(maps.mean(dim=(2, 3))) * (-1 if negative else 1)


def test_what_a_model_takes_beside_the_picture_is_handed_to_it() -> None:
    module, gain = zoo.redraw(Told()), torch.tensor([[1.0, 0, 2, 0]])
    before = snapshot.take(module)
    settings = {"args": (gain,), "kwargs": {"negative": True}}
    found = Explainer(module, **settings).explain(zoo.noise(2), ["gradcam", "scorecam", "ablationcam"], [1])
    with torch.no_grad():
        expected = module(zoo.noise(2), gain.expand(2, -1), negative=True)[:, 1]
    torch.testing.assert_close(torch.tensor([found[0].score, found[3].score]), expected)
    assert not any(zoo.is_flat(one.heatmap) for one in found)
    with pytest.raises(ModelError, match=r"Told raises TypeError on an input of 3×64×64 .*'gain'.*kwargs="):
        Explainer(module).explain(zoo.noise())
    snapshot.assert_same(before, snapshot.take(module))


def test_a_model_that_takes_another_size_or_other_channels_says_so() -> None:
    with pytest.raises(ModelError, match=r"VisionTransformer raises AssertionError on an input of 3×96×96"):
        Explainer(zoo.vit()).explain(zoo.noise(1, 96, 96))
    with pytest.raises(ModelError, match=r"Sequential raises RuntimeError on an input of 1×64×64 .*channels"):
        Explainer(nn.Sequential(nn.Conv2d(3, 8, 8, 8))).explain(zoo.noise(channels=1))


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(TypeError, match="'weigths'"):
        Explainer("resnet10t", weigths="random")  # type: ignore[call-arg]


def test_labels_and_logits_are_what_the_user_says() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = zoo.resnet()

        def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
            logits = self.network(inputs)
            return logits, -logits

    names = [f"class {i}" for i in range(10)]
    (found,) = Explainer(Two(), labels=names, logits_of=lambda pair: pair[1]).explain(
        zoo.noise(), targets=["class 3"]
    )
    (plain,) = Explainer(zoo.resnet()).explain(zoo.noise(), targets=[3])
    assert (found.label, found.score) == ("class 3", -plain.score)
    with pytest.raises(OptionError, match="labels name 9 classes but this model has 10"):
        Explainer(zoo.resnet(), labels=names[:9]).explain(zoo.noise())


HOSTILE = {
    "nested without end": lambda text: '{"a":' * 100_000,
    "another layer": lambda text: text.replace('"layer4"', '"layer9"'),
    "a grid of texts": lambda text: re.sub(r'"grid": \[[^]]*\]', '"grid": ["2", "2"]', text),
    "no such layout": lambda text: text.replace('"NCHW"', '"NCHWD"'),
    "no such verdict": lambda text: text.replace('"verified"', '"sure"'),
    "a score of text": lambda text: re.sub(r'"score": [0-9.]+', '"score": "1"', text),
    "a name of numbers": lambda text: re.sub(r'"default": \[[^]]*\]', '"default": [4]', text),
    "no object": lambda text: "[]",
}


@pytest.mark.parametrize("spoil", HOSTILE.values(), ids=HOSTILE)
def test_an_entry_that_does_not_fit_is_made_anew(spoil: Callable[[str], str]) -> None:
    expected = Explainer("resnet10t", weights="random").explain(zoo.noise())[0]
    (file,) = (cache.folder() / "layers").glob("*.json")
    file.write_text(spoil(file.read_text(encoding="utf-8")), encoding="utf-8")
    found = Explainer("resnet10t", weights="random").explain(zoo.noise())[0]
    assert found.layer == expected.layer == "layer4"
    assert torch.equal(found.heatmap, expected.heatmap)


def test_the_same_relative_name_elsewhere_is_another_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = []
    adapter = Explainer("resnet10t", weights="random").adapter
    for project in ("one", "other"):
        (tmp_path / project / "model").mkdir(parents=True)
        monkeypatch.chdir(tmp_path / project)
        keys.append(cache_key(replace(adapter, name="local-dir:model")))
    assert keys[0] != keys[1]


def test_what_was_found_under_autocast_is_not_taken_for_plain_runs() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (inside,) = Explainer("resnet10t", weights="random").explain(zoo.noise())
    (outside,) = Explainer("resnet10t", weights="random").explain(zoo.noise())
    assert "autocast" in [one.code for one in inside.findings]
    assert "autocast" not in [one.code for one in outside.findings]
    assert len(list((cache.folder() / "layers").glob("*.json"))) == 2


@pytest.mark.parametrize("package", ["torch", "timm", "torchvision", "transformers", "camlucida"])
def test_another_version_of_a_library_is_another_entry(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was found under one version is not believed under another."""
    adapter = Explainer("resnet10t", weights="random", cache=False).adapter
    key = cache_key(adapter)
    assert key is not None
    assert package in key
    monkeypatch.setattr("camlucida.pipeline.settings.versions", lambda: {**versions(), package: "0"})
    assert cache_key(adapter) != key


def test_another_dtype_is_another_entry() -> None:
    module = zoo.resnet()
    LayerInspector(module, logits_of, KEY).default(like())
    LayerInspector(module.double(), logits_of, KEY).default(like().double())
    assert len(list((cache.folder() / "layers").glob("*.json"))) == 2
