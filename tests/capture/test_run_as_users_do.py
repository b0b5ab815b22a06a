"""Models that cannot be run in just any way are run as their users run them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import snapshot
import zoo
from by_hand import assert_near, by_hand, small
from camlucida import Explainer
from camlucida.errors import ModelError
from camlucida.methods import registry

# Methods of each kind: a gradient, many variants of the input or of a layer, second derivatives, biases, noise.
METHODS = ["gradcam", "eigencam", "scorecam", "ablationcam", "fullgrad", "smoothgradcam++"]


def body() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 12, 3, 2, 1), nn.ReLU())


class Classifier(nn.Module):
    """``before`` sees the input and ``between`` the last map."""

    def __init__(
        self, before: Callable[[Tensor], Any], between: Callable[[Tensor], Any] = lambda maps: None
    ) -> None:
        super().__init__()
        self.body, self.head = body(), nn.Linear(12, 5)
        self.before, self.between = before, between
        zoo.redraw(self)

    def forward(self, batch: Tensor) -> Tensor:
        self.before(batch)
        maps = self.body(batch)
        self.between(maps)
        return self.head(maps.mean(dim=(2, 3)))


def one_only(batch: Tensor) -> None:
    if len(batch) != 1:
        raise RuntimeError(f"Expected hidden[0] size (1, 1, 24), got [1, {len(batch)}, 24]")


def in_range(batch: Tensor) -> None:
    if batch.min() < 0 or batch.max() > 1:
        raise ValueError("pixels must lie in [0, 1]")


def hooked(tensor: Tensor) -> None:
    tensor.register_hook(lambda gradient: None)


def retained(tensor: Tensor) -> None:
    tensor.retain_grad()


def differentiated(maps: Tensor) -> None:
    torch.autograd.grad(maps.sum(), maps, retain_graph=True)


ODD = {
    "one picture at a time": (one_only, lambda maps: None),
    "pixels in [0, 1]": (in_range, lambda maps: None),
    "a hook on a map": (lambda batch: None, hooked),
    "a map's gradient retained": (lambda batch: None, retained),
    "a gradient inside": (lambda batch: None, differentiated),
    "one at a time, in [0, 1], with a hook": (lambda batch: (one_only(batch), in_range(batch)), hooked),
}
PLAIN = Classifier(lambda batch: None)


def picture() -> Tensor:
    return torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize("layer", [None, "body.3"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_it_is_explained_as_the_same_model_without_its_oddity(odd: Any, method: str, layer: str | None) -> None:
    module = Classifier(*odd)
    module.load_state_dict(PLAIN.state_dict())
    before = snapshot.take(module)
    if method == "smoothgradcam++" and "in_range" in (*odd[0].__code__.co_names, odd[0].__name__):
        with pytest.raises(ModelError, match=r"raises ValueError on a variant.*pixels must lie in \[0, 1\]"):
            Explainer(module).explain(picture(), [method], [1], [layer])
        return
    (found,) = Explainer(module).explain(picture(), [method], [1], [layer])
    (expected,) = Explainer(PLAIN).explain(picture(), [method], [1], ["body"])
    assert found.layer in ("body", "body.3", "all layers")
    assert_near(found.heatmap, expected.heatmap.double())
    snapshot.assert_same(before, snapshot.take(module))


def test_several_pictures_and_their_views_one_at_a_time() -> None:
    module = Classifier(one_only)
    module.load_state_dict(PLAIN.state_dict())
    pictures = [picture(), picture().flip(-1), picture() * 0.5]
    found = Explainer(module).explain(pictures, ["gradcam", "finercam"], [None, 2], smooth=["aug"])
    expected = Explainer(PLAIN).explain(pictures, ["gradcam", "finercam"], [None, 2], ["body"], smooth=["aug"])
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.heatmap, other.heatmap, rtol=1e-3, atol=1e-6)
        torch.testing.assert_close(one.spread, other.spread, rtol=1e-3, atol=1e-6)
        assert one.index == other.index


class Recurrent(nn.Module):
    """A convolution, and a recurrent network over its rows."""

    def __init__(self, batch: int | None) -> None:
        super().__init__()
        self.body, self.lstm, self.head = body(), nn.LSTM(12 * 8, 24, batch_first=True), nn.Linear(24, 5)
        self.batch = batch
        zoo.redraw(self)

    def forward(self, inputs: Tensor) -> Tensor:
        rows = self.body(inputs).permute(0, 2, 1, 3).flatten(2)
        hidden = tuple(torch.zeros(1, self.batch or len(inputs), 24).to(inputs) for _ in range(2))
        return self.head(self.lstm(rows, hidden)[0][:, -1])


@pytest.mark.parametrize("layer", [None, "body"])
@pytest.mark.parametrize("batch", [None, 1])
def test_a_recurrent_network_whose_state_is_made_for_one_picture(batch: int | None, layer: str | None) -> None:
    module = Recurrent(batch)
    (found,) = Explainer(module).explain(picture(), targets=[1], layers=[layer])
    assert_near(found.heatmap, by_hand(Recurrent(None), "body", picture()[None], 1))


class OnCuda(torch.autograd.Function):
    """cuDNN's rule."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, allowed: bool) -> Tensor:
        ctx.allowed = allowed
        return tensor.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        if not ctx.allowed:
            raise RuntimeError("cudnn RNN backward can only be called in training mode")
        return gradient, None


class CudaLstm(nn.LSTM):
    def forward(self, *taken: Any) -> Any:
        output, state = super().forward(*taken)
        return OnCuda.apply(output, self.training or not torch.backends.cudnn.enabled), state


@pytest.mark.parametrize("method", ["gradcam", "eigencam", "scorecam"])
def test_a_recurrent_network_on_cudnn_by_its_rule(method: str) -> None:
    module = Recurrent(None)
    module.lstm = CudaLstm(12 * 8, 24, batch_first=True)
    zoo.redraw(module)
    before = torch.backends.cudnn.enabled
    (found,) = Explainer(module).explain(picture(), [method], [1])
    assert found.layer == "body"
    assert torch.backends.cudnn.enabled is before


def test_what_the_models_own_backward_raises_is_told_with_what_to_do() -> None:
    class Never(nn.Module):
        def forward(self, maps: Tensor) -> Tensor:
            return OnCuda.apply(maps, False)

    module = nn.Sequential(body(), Never(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 5))
    with pytest.raises(ModelError, match="own backward raises RuntimeError.*cudnn RNN.*eigencam"):
        Explainer(module).explain(picture(), layers=["0"])


# -- extra inputs that differ from picture to picture ------------------------------------------------------


class WithRow(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = body(), nn.Linear(12, 5)
        zoo.redraw(self)

    def forward(self, batch: Tensor, row: Tensor) -> Tensor:
        assert len(row) == len(batch)
        return self.head(self.body(batch).mean(dim=(2, 3)) * row)


@pytest.mark.parametrize("size", [1, 2, 8])
@pytest.mark.parametrize("method", METHODS)
def test_each_picture_has_its_own_row(method: str, size: int) -> None:
    module, rows = WithRow(), torch.rand(3, 12, generator=torch.Generator().manual_seed(2)) + 0.5
    pictures = torch.stack([picture(), picture().flip(-1), picture().flip(-2)])
    found = Explainer(module, args=[rows], batch_size=size).explain(pictures, [method], [1])
    for i, one in enumerate(found):
        (alone,) = Explainer(module, args=[rows[i : i + 1]]).explain(pictures[i], [method], [1])
        torch.testing.assert_close(
            one.heatmap, alone.heatmap, rtol=1e-3, atol=1e-4 * float(alone.heatmap.abs().max())
        )


def test_a_model_whose_picture_is_not_its_first_argument_is_told_what_to_do() -> None:
    class Swapped(WithRow):
        def forward(self, row: Tensor, batch: Tensor) -> Tensor:  # type: ignore[override]
            return super().forward(batch, row)

    with pytest.raises(ModelError, match="takes the picture first"):
        Explainer(Swapped(), args=[torch.ones(1, 12)]).explain(picture())


# -- not the same twice, not alone ------------------------------------------------------------------------


class Drawing(nn.Module):
    def forward(self, maps: Tensor) -> Tensor:
        return maps * (1 + torch.rand(1))


def test_a_model_that_draws_random_numbers_is_noticed() -> None:
    module = nn.Sequential(body(), Drawing(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 5))
    (found,) = Explainer(module).explain(picture(), targets=[1])
    assert "draws-lots" in [one.code for one in found.findings]


def test_pictures_that_depend_on_each_other_are_run_alone_and_it_is_said() -> None:
    def make() -> nn.Module:
        norm = nn.BatchNorm2d(12, track_running_stats=False)
        parts = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 5)]
        return zoo.redraw(nn.Sequential(nn.Conv2d(3, 12, 3, 2, 1), norm, nn.ReLU(), *parts))

    pictures = torch.stack([picture(), 3 * picture().flip(-1), 0.1 * picture()])
    found = Explainer(make()).explain(pictures, targets=[1])
    for i, one in enumerate(found):
        assert "leans-on-batch" in [finding.code for finding in one.findings]
        assert_near(one.heatmap, by_hand(make(), "2", pictures[i : i + 1], 1))


def test_an_ordinary_model_is_neither() -> None:
    (found,) = Explainer(small()).explain(zoo.noise(), targets=[1])
    assert not found.findings


# -- one bad picture of a batch ---------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3, 8])
@pytest.mark.parametrize("method", [name for name in registry.all_methods() if name not in ("random", "cam")])
def test_a_picture_of_nan_takes_no_other_with_it(method: str, size: int) -> None:
    pictures = torch.stack([picture(), picture().flip(-1), picture().flip(-2), picture() * 0.7])
    alone = Explainer(PLAIN).explain(pictures[[0, 1, 3]], [method], [1], ["body"])
    bad = pictures.clone()
    bad[2, 0, 3, 3] = float("nan")
    found = Explainer(PLAIN, batch_size=size).explain(bad, [method], [1], ["body"])
    assert [finding.code for finding in found[2].health][:1] == ["not-finite"]
    assert found[2].heatmap.isnan().all()
    for one, other in zip([*found[:2], found[3]], alone, strict=True):
        torch.testing.assert_close(
            one.heatmap, other.heatmap, rtol=1e-3, atol=1e-4 * float(other.heatmap.abs().max())
        )


def test_the_only_picture_of_nan_is_an_error() -> None:
    with pytest.raises(ModelError, match="NaN for this picture"):
        Explainer(PLAIN).explain(picture() * float("nan"), layers=["body"])
