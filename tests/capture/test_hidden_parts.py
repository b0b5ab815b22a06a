"""Models with parts that hooks see from outside, or not at all: TorchScript, torch.vmap, int8, lazy layers."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator

import pytest
import torch
from test_run_as_users_do import METHODS
from torch import Tensor, nn

import snapshot
import zoo
from camlucida import Explainer
from camlucida.errors import LayerError, ModelError


@pytest.fixture(autouse=True)
def _torch_warns() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class Net(nn.Module):
    """Two stages and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU())
        self.last = nn.Sequential(nn.Conv2d(8, 12, 3, 2, 1), nn.ReLU())
        self.head = nn.Linear(12, 5)
        zoo.redraw(self)

    def forward(self, batch: Tensor) -> Tensor:
        return self.score(self.last(self.first(batch)))

    def score(self, maps: Tensor) -> Tensor:
        return self.head(maps.mean(dim=(2, 3)))


def picture() -> Tensor:
    return zoo.noise(1, 32, 32)[0]


def scripted(stage: nn.Module) -> nn.Module:
    return torch.jit.script(stage)


def traced(stage: nn.Module) -> nn.Module:
    return torch.jit.trace(stage, torch.zeros(1, 8, 16, 16))


def frozen(stage: nn.Module) -> nn.Module:
    return torch.jit.freeze(torch.jit.script(stage.eval()))


@pytest.mark.parametrize("layer", [None, "last"])
@pytest.mark.parametrize("script", [scripted, traced, frozen])
def test_a_scripted_stage_is_looked_at_like_any_other(
    script: Callable[..., nn.Module], layer: str | None
) -> None:
    plain, module = Net(), Net()
    module.last = script(module.last)
    before = snapshot.take(module)
    found = Explainer(module).explain(picture(), METHODS, [1], [layer])
    for one, other in zip(found, Explainer(plain).explain(picture(), METHODS, [1], ["last"]), strict=True):
        assert one.layer == other.layer
        if one.method == "fullgrad":  # whose biases in there nobody sees
            assert "1 operations" in str([note for note in one.health if note.code == "terms-left-out"])
            continue
        torch.testing.assert_close(one.heatmap, other.heatmap, rtol=1e-3, atol=1e-6)
    snapshot.assert_same(before, snapshot.take(module))


def test_the_inside_of_a_scripted_stage_is_offered_from_outside() -> None:
    module = Net()
    module.last = scripted(module.last)
    with pytest.raises(LayerError, match=r"'last\.0' lies inside 'last', which is TorchScript.*choose 'last'"):
        Explainer(module).explain(picture(), layers=["last.0"])


class Mapped(Net):
    """Its first stage takes one picture at a time, inside torch.vmap; or all of it does."""

    def __init__(self, whole: bool) -> None:
        super().__init__()
        self.whole = whole

    def forward(self, batch: Tensor) -> Tensor:
        if self.whole:
            return torch.vmap(lambda one: super(Mapped, self).forward(one[None])[0])(batch)
        return self.score(self.last(torch.vmap(lambda one: self.first(one[None])[0])(batch)))


@pytest.mark.parametrize("method", METHODS)
def test_a_stage_behind_vmap(method: str) -> None:
    (found,) = Explainer(Mapped(whole=False)).explain(picture(), [method], [1])
    (expected,) = Explainer(Net()).explain(picture(), [method], [1])
    assert found.layer == expected.layer
    if method == "fullgrad":
        assert "1 operations" in str([note for note in found.health if note.code == "terms-left-out"])
        return
    torch.testing.assert_close(found.heatmap, expected.heatmap, rtol=1e-3, atol=1e-6)


def test_what_runs_inside_vmap_is_refused_for_that_reason() -> None:
    for whole, layer in ((True, None), (True, "last"), (False, "first.1")):
        module = Mapped(whole)
        before = snapshot.take(module)
        with pytest.raises(LayerError, match=r"runs inside torch\.vmap, which hides"):
            Explainer(module).explain(picture(), layers=[layer])
        snapshot.assert_same(before, snapshot.take(module))


@pytest.mark.parametrize("dtype", [torch.qint8, torch.float16])
def test_a_dynamically_quantised_head_leaves_the_maps_that_need_no_gradient(dtype: torch.dtype) -> None:
    plain = Net()
    module = torch.ao.quantization.quantize_dynamic(copy.deepcopy(plain), {nn.Linear}, dtype=dtype)
    methods = ["eigencam", "scorecam", "ablationcam"]
    found = Explainer(module).explain(picture(), methods, [1])
    expected = Explainer(plain).explain(picture(), methods, [1])
    for one, other, apart in zip(found, expected, (1e-6, 0.05, 0.2), strict=True):  # scores of eight bits
        assert one.layer == "last"
        assert (one.heatmap - other.heatmap).abs().max() <= apart * other.heatmap.abs().max()
    for layer in (None, "last"):
        with pytest.raises(LayerError, match=r"layers are quantised\).*without gradients, such as scorecam"):
            Explainer(module).explain(picture(), layers=[layer])


class Stubs(Net):
    """Whole numbers from the first layer to the last."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.leave = torch.ao.quantization.QuantStub(), torch.ao.quantization.DeQuantStub()

    def forward(self, batch: Tensor) -> Tensor:
        return self.leave(super().forward(self.enter(batch)))


@pytest.mark.skipif(
    not {"fbgemm", "qnnpack"} & set(torch.backends.quantized.supported_engines), reason="no engine for int8"
)
@pytest.mark.parametrize("layer", [None, "last"])
@pytest.mark.parametrize("method", ["gradcam", "eigencam"])
def test_a_statically_quantised_model_is_refused_for_that_reason(method: str, layer: str | None) -> None:
    engine = "fbgemm" if "fbgemm" in torch.backends.quantized.supported_engines else "qnnpack"
    module = Stubs().eval()
    module.qconfig = torch.ao.quantization.get_default_qconfig(engine)
    torch.ao.quantization.prepare(module, inplace=True)
    module(picture()[None])
    torch.ao.quantization.convert(module, inplace=True)
    with pytest.raises(LayerError, match="quantised tensors.*explain the floating-point model"):
        Explainer(module).explain(picture(), [method], layers=[layer])


@pytest.mark.parametrize("copied", [False, True])
def test_lazy_layers_that_never_ran(copied: bool) -> None:
    module = nn.Sequential(nn.LazyConv2d(8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(5))
    with pytest.raises(ModelError, match="lazy layers that have never run.*run the model once"):
        Explainer(module, copy=copied).explain(picture())
    module(picture()[None])
    assert Explainer(module, copy=copied).explain(picture())[0].layer == "0"
