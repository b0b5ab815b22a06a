"""The drop-in's metrics beside the released peer, and what must hold of them whatever the peer does."""

from __future__ import annotations

import copy
import subprocess
import sys
import warnings
from functools import cache
from typing import Any

import numpy as np
import pytest
import pytorch_grad_cam as peer
import pytorch_grad_cam.metrics.arcc
import torch
import torchvision
from torch import Tensor, nn

import snapshot
import zoo
from camlucida.compat import pytorch_grad_cam as ours
from camlucida.compat.pytorch_grad_cam.metrics import arcc, cam_mult_image, perturbation_confidence, road
from camlucida.compat.pytorch_grad_cam.utils.model_targets import (
    BinaryClassifierOutputTarget,
    ClassifierOutputSoftmaxTarget,
    ClassifierOutputTarget,
    RawScoresOutputTarget,
)
from camlucida.errors import OptionError, PictureError, TargetError

# The peer hands tensors to numpy's functions.
pytestmark = pytest.mark.filterwarnings("ignore:__array_wrap__ must accept:DeprecationWarning")

MULTIPLIED = ["CamMultImageConfidenceChange", "DropInConfidence", "IncreaseInConfidence"]
SINGLE = ["ROADMostRelevantFirst", "ROADLeastRelevantFirst"]
AVERAGED = ["ROADMostRelevantFirstAverage", "ROADLeastRelevantFirstAverage", "ROADCombined"]
NETWORKS = ["resnet", "vit", "squeezenet"]
MAPS = ["random", "cam", "spot"]
PAIRED = list(zip(MAPS, NETWORKS, strict=True))


def squeezenet() -> nn.Module:
    return zoo.redraw(torchvision.models.squeezenet1_1(num_classes=10))


@cache
def network(name: str) -> nn.Module:
    return {"resnet": zoo.resnet, "vit": zoo.vit, "squeezenet": squeezenet}[name]()


@cache
def inputs(count: int = 2) -> Tensor:
    """Noise with a bright spot."""
    pictures = zoo.noise(count)
    pictures[:, :, 20:40, 10:50] += 2
    return pictures


def targets(count: int = 2, kind: Any = ClassifierOutputTarget) -> list[Any]:
    return [kind(index) for index in (1, 4, 7)[:count]]


@cache
def maps(kind: str, count: int = 2) -> np.ndarray:
    """Without equals, with those of a class activation map (corners, which are drawn flat), or smooth."""
    if kind == "random":
        return np.random.default_rng(4).random((count, 64, 64), dtype=np.float32)
    if kind == "cam":
        net = network("resnet")
        found = ours.HiResCAM(net, [net.layer2])(inputs(count), targets(count))
        assert (found == 0).mean() < 0.2  # below, the peer would remove all: see test_something_…_is_left
        return found
    rows, columns = np.mgrid[:64, :64]
    spots = [np.exp(-((rows - 20.3) ** 2 + (columns - at) ** 2) / 300) for at in (11.7, 30.2, 44.9)]
    return np.float32(spots[:count])


def quiet(metric: Any) -> Any:
    """Of either package, without noise."""
    if hasattr(metric, "perturbation"):
        metric.perturbation.imputer.noise = 0
    if hasattr(metric, "percentiles") and hasattr(metric, "imputer"):
        make = metric.imputer
        metric.imputer = lambda percentile: quiet(make(percentile))
    for part in ("morf_averager", "lerf_averager", "road"):
        if hasattr(metric, part):
            quiet(getattr(metric, part))
    return metric


def assert_same(mine: Any, theirs: Any) -> None:
    assert (mine.shape, mine.dtype) == (theirs.shape, theirs.dtype)
    np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-5)


def assert_telling(values: np.ndarray) -> None:
    """Of zeros, or of the same for each picture, a comparison would say nothing."""
    assert np.abs(values).max() > 1e-4
    assert np.ptp(values) > 2e-5


# -- the same numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [ClassifierOutputTarget, ClassifierOutputSoftmaxTarget])
@pytest.mark.parametrize("model", NETWORKS)
def test_what_is_seen_through_a_map_is_the_peers(model: str, kind: type) -> None:
    given = (inputs(), maps("cam"), targets(kind=kind), network(model))
    for name in MULTIPLIED:
        mine, theirs = (getattr(one.metrics.cam_mult_image, name)()(*given) for one in (ours, peer))
        assert_same(mine, theirs)
    mine, theirs = (one.metrics.cam_mult_image.CamMultImageConfidenceChange() for one in (ours, peer))
    assert_telling(mine(*given))
    assert_same(mine(*given, return_diff=False), theirs(*given, return_diff=False))
    for difference in (True, False):
        mine_too, theirs_too = (one(*given, True, difference) for one in (mine, theirs))
        assert_same(mine_too[0], theirs_too[0])
        assert torch.equal(mine_too[1], theirs_too[1])


@pytest.mark.parametrize("percentile", [50.5, 95])
@pytest.mark.parametrize(("kind", "model"), PAIRED)
@pytest.mark.parametrize("name", SINGLE)
def test_road_is_the_peers(name: str, kind: str, model: str, percentile: float) -> None:
    given = (inputs(), maps(kind), targets(), network(model))
    mine, theirs = (quiet(getattr(one.metrics.road, name)(percentile)) for one in (ours, peer))
    numbers, pictures = mine(*given, return_visualization=True)
    expected, filled = theirs(*given, return_visualization=True)
    assert_same(numbers, expected)
    assert_telling(numbers)
    assert torch.allclose(pictures, filled, atol=1e-6)
    assert torch.equal(pictures == inputs(), filled == inputs())  # the same pixels are gone


def test_defaults_are_the_peers() -> None:
    given = (inputs(1), maps("random", 1), targets(1), network("squeezenet"))
    for name in SINGLE + AVERAGED:
        mine, theirs = (quiet(getattr(one.metrics.road, name)()) for one in (ours, peer))
        if name in SINGLE:
            assert_same(mine(*given), theirs(*given))
        assert list(getattr(mine, "percentiles", [])) == list(getattr(theirs, "percentiles", []))
    imputers = (one.metrics.road.NoisyLinearImputer() for one in (ours, peer))
    assert len({one.noise for one in imputers}) == 1
    assert dict(road.neighbors_weights) == dict(peer.metrics.road.neighbors_weights)


@pytest.mark.parametrize(("kind", "model"), PAIRED)
@pytest.mark.parametrize("name", AVERAGED)
def test_averages_are_the_peers(name: str, kind: str, model: str) -> None:
    given = (inputs(), maps(kind), targets(kind=ClassifierOutputSoftmaxTarget), network(model))
    mine, theirs = (quiet(getattr(one.metrics.road, name)((25, 75.5))) for one in (ours, peer))
    assert_same(mine(*given), theirs(*given))


@pytest.mark.parametrize(("name", "kind"), [("HiResCAM", "cam"), ("LayerCAM", "spot")])
def test_arcc_is_the_peers(name: str, kind: str) -> None:
    net = network("resnet")
    base = getattr(ours, name)(net, [net.layer2])
    given = (inputs(), maps(kind), [ClassifierOutputSoftmaxTarget(9)] * 2, net)  # the top class: ROAD > 0
    found = []
    for package in (arcc, peer.metrics.arcc):
        whole = quiet(package.ARCC(base, road_percentiles=[30, 60]))(*given)
        found.append((package.Complexity()(maps(kind)), package.Coherency()(*given, base), whole))
    for mine, theirs in zip(*found, strict=True):
        assert_same(mine, theirs)
        assert_telling(mine)
    pairs = (maps("random"), maps("spot"))
    assert_same(arcc.batch_pearson_coherency(*pairs), peer.metrics.arcc.batch_pearson_coherency(*pairs))


def test_the_default_of_arcc_is_the_peers() -> None:
    defaults = [one.ARCC(None).road.percentiles for one in (arcc, peer.metrics.arcc)]
    assert list(defaults[0]) == list(defaults[1])


@pytest.mark.parametrize("name", SINGLE)
def test_noise_is_the_peers_after_the_same_seed(name: str) -> None:
    given = (inputs(), maps("spot"), targets(), network("resnet"))
    found = []
    for package in (ours, peer):
        metric = getattr(package.metrics.road, name)()
        metric.perturbation.imputer.seed = None
        torch.manual_seed(5)
        found.append(metric(*given, return_visualization=True))
    assert torch.allclose(found[0][1], found[1][1], atol=1e-5)
    assert_same(found[0][0], found[1][0])


def test_perturbations_of_ones_own() -> None:
    """A metric, an imputer and an averager get and give what the peer's do."""

    def darker(picture: Tensor, heat: Tensor) -> Tensor:
        assert (picture.shape, heat.shape) == ((3, 64, 64), (64, 64))
        return picture * (heat < 0.5)

    def grey(picture: Tensor, kept: Tensor) -> Tensor:
        assert set(kept.unique().tolist()) == {0, 1}
        return picture * kept

    given = (inputs(), maps("spot"), targets(), network("resnet"))
    for kind in ("Most", "Least"):
        found = []
        for package in (perturbation_confidence, peer.metrics.perturbation_confidence):
            remove = getattr(package, f"Remove{kind}RelevantFirst")
            metric = package.PerturbationConfidenceMetric
            made = package.AveragerAcrossThresholds(lambda p, m=metric, r=remove: m(r(p, grey)), [30, 60])
            found.append((metric(darker)(*given), made(*given)))
        for mine, theirs in zip(*found, strict=True):
            assert_same(mine, theirs)
            assert_telling(mine)


def test_targets_of_several_numbers_and_models_of_one() -> None:
    single = zoo.redraw(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    cases = [(network("resnet"), RawScoresOutputTarget), (single, lambda: BinaryClassifierOutputTarget(0))]
    for net, kind in cases:
        given = (inputs(), maps("spot"), [kind() for _ in range(2)], net)
        mine, theirs = (one.metrics.cam_mult_image.CamMultImageConfidenceChange() for one in (ours, peer))
        assert mine(*given).ndim == 2
        assert_same(mine(*given), theirs(*given))


def test_pictures_of_one_channel() -> None:
    net = zoo.redraw(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    pictures = zoo.noise(2, 32, 48, channels=1)
    heat = np.random.default_rng(1).random((2, 32, 48), dtype=np.float32)
    for name in SINGLE:
        mine, theirs = (quiet(getattr(one.metrics.road, name)(60)) for one in (ours, peer))
        given = (pictures, heat, targets(2, lambda index: ClassifierOutputTarget(index % 4)), net)
        assert_same(mine(*given), theirs(*given))


# -- where the peer is wrong ------------------------------------------------------------------------------


def sparse() -> np.ndarray:
    """Zero but for a sixteenth of the positions, as maps often are."""
    heat = np.zeros((1, 64, 64), np.float32)
    heat[0, 8:24, 20:36] = np.random.default_rng(0).random((16, 16)) / 2 + 0.5
    return heat


def gone(package: Any, kind: str, percentile: Any, heat: np.ndarray) -> Tensor:
    """Which pixels are removed (height, width)."""
    seen = []
    remove = getattr(package, f"Remove{kind}RelevantFirst")(percentile, lambda _, kept: seen.append(kept))
    remove(inputs(1)[0], torch.from_numpy(heat[0]))
    return seen[0] == 0


def test_something_of_the_picture_is_left() -> None:
    heat = sparse()
    for percentile in (0, 10, 50, 90):
        assert gone(peer.metrics.perturbation_confidence, "Most", percentile, heat).all()
        mine = gone(perturbation_confidence, "Most", percentile, heat)
        assert torch.equal(mine, torch.from_numpy(heat[0]) > 0)
    metric, given = road.ROADMostRelevantFirst(20), (inputs(1), heat, targets(1), network("resnet"))
    numbers, pictures = metric(*given, return_visualization=True)
    assert np.isfinite(numbers).all()
    assert torch.equal(pictures[0, :, 30:], inputs(1)[0, :, 30:])


@pytest.mark.parametrize("percentile", [1, 33, 66.6, 99])
def test_as_many_pixels_go_as_are_asked_for(percentile: float) -> None:
    heat = maps("random", 1)
    for kind in ("Most", "Least"):
        removed = gone(perturbation_confidence, kind, percentile, heat)
        assert float(removed.double().mean()) == pytest.approx(1 - percentile / 100, abs=1 / 4096)
        inside, outside = heat[0][removed], heat[0][~removed]
        assert inside.min() > outside.max() if kind == "Most" else inside.max() < outside.min()


def test_auto_removes_what_the_class_says() -> None:
    """The peer's removes the rest; its limit, OpenCV's, is the same."""
    for seed in range(5):
        generator = np.random.default_rng(seed)
        heat = generator.beta(0.5 + seed / 3, 1, (1, 64, 64)).astype(np.float32)
        most = gone(perturbation_confidence, "Most", "auto", heat)
        assert torch.equal(most, ~gone(peer.metrics.perturbation_confidence, "Most", "auto", heat))
        assert heat[0][most].min() > heat[0][~most].max()
        least = gone(perturbation_confidence, "Least", "auto", heat)
        assert torch.equal(least, ~gone(peer.metrics.perturbation_confidence, "Least", "auto", heat))
        assert heat[0][least].max() < heat[0][~least].min()


@pytest.mark.parametrize("kind", [np.zeros, np.ones])
def test_a_map_that_ranks_nothing_has_no_number(kind: Any) -> None:
    heat = np.stack([kind((64, 64), dtype=np.float32), maps("spot")[0], np.full((64, 64), np.nan, np.float32)])
    given = (inputs(3), heat, targets(3), network("vit"))
    for metric in (road.ROADMostRelevantFirst(), road.ROADLeastRelevantFirst(), road.ROADCombined([30, 60])):
        with pytest.warns(UserWarning, match="does not say which pixels go first") as caught:
            found = metric(*given)
        assert np.isnan(found).tolist() == [True, False, True]
        assert {one.filename for one in caught} == {__file__}


def test_no_number_is_made_of_nan_by_the_model() -> None:
    class Deaf(nn.Module):
        def forward(self, pictures: Tensor) -> Tensor:
            return pictures.nan_to_num().flatten(1)[:, :10]

    given = (inputs(1), np.zeros((1, 64, 64), np.float32), targets(1), Deaf())
    with pytest.warns(UserWarning, match="choose another class"):
        assert np.isnan(road.ROADMostRelevantFirst()(*given)).all()
    for name in MULTIPLIED:
        metric = getattr(cam_mult_image, name)()
        assert np.isnan(metric(inputs(1), np.full((1, 64, 64), np.nan, np.float32), targets(1), Deaf())).all()


def test_arcc_of_a_blank_map_is_zero() -> None:
    net = network("resnet")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        given = (inputs(1), np.zeros((1, 64, 64), np.float32), targets(1), net)
        base = ours.HiResCAM(net, [net.layer2])
        assert arcc.Coherency()(*given, base).tolist() == [0]
        assert arcc.ARCC(base)(*given).tolist() == [0]


def test_pictures_come_with_drops_too() -> None:
    given = (inputs(), maps("cam"), targets(), network("resnet"))
    for name in MULTIPLIED[1:]:
        metric = getattr(cam_mult_image, name)()
        numbers, pictures = metric(*given, return_visualization=True)
        assert np.array_equal(numbers, metric(*given))
        assert pictures.shape == inputs().shape


def test_noise_is_the_same_each_time() -> None:
    given = (inputs(), maps("spot"), targets(), network("resnet"))
    before = torch.get_rng_state()
    one, again = (road.ROADCombined([40])(*given) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(one, again)
    for seed in (1, None):
        metric = road.ROADMostRelevantFirst()
        plain = metric(*given)
        metric.perturbation.imputer.seed = seed
        other = metric(*given)
        assert not np.array_equal(other, plain)
        np.testing.assert_allclose(other, plain, atol=0.05)
    imputer = road.NoisyLinearImputer(noise=0.5)
    kept = torch.ones(64, 64)
    kept[5:25, 5:25] = 0
    rough = imputer(inputs()[0], kept) - quiet_fill(inputs()[0], kept)
    assert float(rough[:, 5:25, 5:25].std()) == pytest.approx(0.5, rel=0.1)
    assert not rough[:, 30:].any()


def quiet_fill(picture: Tensor, kept: Tensor) -> Tensor:
    return road.NoisyLinearImputer(noise=0)(picture, kept)


def test_only_the_order_of_values_counts() -> None:
    heat = maps("random")
    given = (targets(), network("resnet"))
    for name in SINGLE:
        metric = getattr(road, name)()
        one, other = (metric(inputs(), some, *given) for some in (heat, heat.astype(np.float64) ** 2))
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_a_filled_in_picture_stays_between_its_neighbours() -> None:
    picture, kept = inputs()[0], torch.rand(64, 64, generator=torch.Generator().manual_seed(0)) > 0.6
    filled = quiet_fill(picture, kept.float())
    for one, plain in zip(filled, picture, strict=True):
        assert one[~kept].max() <= plain[kept].max() + 1e-5
        assert one[~kept].min() >= plain[kept].min() - 1e-5
    assert torch.equal(filled[:, kept], picture[:, kept])
    flat = torch.full((3, 64, 64), 7.0)
    assert torch.allclose(quiet_fill(flat, kept.float()), flat, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_precisions(dtype: torch.dtype) -> None:
    net = copy.deepcopy(network("resnet")).to(dtype)
    given = (inputs().to(dtype), maps("spot").astype(np.float64), targets(), net)
    plain = (inputs(), maps("spot"), targets(), network("resnet"))
    for metric in (cam_mult_image.CamMultImageConfidenceChange(), road.ROADMostRelevantFirst()):
        numbers, pictures = metric(*given, return_visualization=True)
        assert (numbers.dtype, pictures.dtype) == (np.float32, dtype)
        np.testing.assert_allclose(numbers, metric(*plain), atol=0.3 if dtype == torch.bfloat16 else 1e-5)


def test_maps_may_be_tensors_and_models_functions_or_return_more() -> None:
    class Named(nn.Module):
        def forward(self, pictures: Tensor) -> Any:
            return {"logits": network("resnet")(pictures)}

    metric = cam_mult_image.CamMultImageConfidenceChange()
    plain = metric(inputs(), maps("spot"), targets(), network("resnet"))
    for model in (network("resnet"), network("resnet").forward, Named(), nn.DataParallel(network("resnet"))):
        assert_same(metric(inputs(), torch.from_numpy(maps("spot")).requires_grad_(), targets(), model), plain)


# -- the user's model -------------------------------------------------------------------------------------


class Careless(nn.Module):
    """Counts its runs, drops out, has a batch norm, and fails if told."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 10, 3), nn.BatchNorm2d(10), nn.ReLU(), nn.Dropout(0.5))
        self.register_buffer("runs", torch.zeros(()))
        self.cache: dict[str, Tensor] = {}
        self.fails = False

    def forward(self, pictures: Tensor) -> Tensor:
        self.runs += 1
        self.cache["last"] = pictures
        assert not torch.is_grad_enabled()
        if self.fails:
            raise RuntimeError("mine")
        return self.body(pictures).mean(dim=(2, 3))


@pytest.mark.parametrize("training", [True, False])
def test_the_model_comes_back_as_it_was(training: bool) -> None:
    net = zoo.redraw(Careless()).train(training)
    net.body[0].bias.requires_grad_(False)
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = snapshot.take(net)
    given = (inputs(), maps("spot"), targets(), net)
    metrics = [
        cam_mult_image.DropInConfidence(),
        road.ROADCombined([30, 60]),
        arcc.ARCC(lambda **_: maps("cam")),
    ]
    for metric in metrics:
        assert np.array_equal(metric(*given), metric(*given))  # nothing drops out
        snapshot.assert_same(before, snapshot.take(net))
    net.fails = True
    before = snapshot.take(net)
    with pytest.raises(RuntimeError, match="mine"):
        metrics[0](*given)
    snapshot.assert_same(before, snapshot.take(net))


def test_pictures_and_maps_are_left_alone() -> None:
    pictures, heat = inputs().clone().requires_grad_(), maps("spot").copy()
    for metric in (cam_mult_image.IncreaseInConfidence(), road.ROADLeastRelevantFirst()):
        _, changed = metric(pictures, heat, targets(), network("resnet"), return_visualization=True)
        assert not changed.requires_grad
    assert torch.equal(pictures, inputs())
    assert pictures.grad is None
    assert np.array_equal(heat, maps("spot"))


# -- what goes wrong --------------------------------------------------------------------------------------


def test_another_number_of_targets_or_maps() -> None:
    metrics = (cam_mult_image.CamMultImageConfidenceChange(), road.ROADCombined(), road.ROADMostRelevantFirst())
    for metric in metrics:
        with pytest.raises(TargetError, match="got 1 for 2 pictures"):
            metric(inputs(), maps("spot"), targets(1), network("resnet"))
        with pytest.raises(TargetError, match="got None: give those of the maps"):
            metric(inputs(), maps("spot"), None, network("resnet"))
        with pytest.raises(PictureError, match="got 1 for 2 pictures: give the maps"):
            metric(inputs(), maps("spot")[:1], targets(), network("resnet"))
        with pytest.raises(PictureError, match=r"\(64, 64\), got \(32, 64\): resize it"):
            metric(inputs(), maps("spot")[:, :32], targets(), network("resnet"))


@pytest.mark.parametrize("percentile", [-1, 100.5, "otsu", None, float("nan")])
def test_percentiles_that_are_none(percentile: Any) -> None:
    with pytest.raises(OptionError, match="from 0 to 100, or 'auto'"):
        road.ROADMostRelevantFirst(percentile)(inputs(), maps("spot"), targets(), network("resnet"))


def test_other_refusals() -> None:
    with pytest.raises(OptionError, match="got none: leave them out"):
        road.ROADCombined([])
    with pytest.raises(PictureError, match="keep some of them"):
        road.NoisyLinearImputer()(inputs()[0], torch.zeros(64, 64))
    with pytest.warns(UserWarning, match="leave out weighting"):
        road.NoisyLinearImputer(weighting=[((0, 1), 1.0)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        road.NoisyLinearImputer(0.02, peer.metrics.road.neighbors_weights)


# -- under the peer's name --------------------------------------------------------------------------------

UNDER_ITS_NAME = """
import sys
import camlucida.compat
camlucida.compat.install()
import pytorch_grad_cam
assert pytorch_grad_cam.metrics.road.ROADCombined and pytorch_grad_cam.metrics.cam_mult_image
import pytorch_grad_cam.metrics.road
import pytorch_grad_cam.metrics.arcc as arcc
from pytorch_grad_cam.metrics.cam_mult_image import CamMultImageConfidenceChange, DropInConfidence
from pytorch_grad_cam.metrics.perturbation_confidence import PerturbationConfidenceMetric
from pytorch_grad_cam.metrics.road import ROADMostRelevantFirst, NoisyLinearImputer, RemoveMostRelevantFirst
assert issubclass(ROADMostRelevantFirst, PerturbationConfidenceMetric)
assert issubclass(DropInConfidence, CamMultImageConfidenceChange)
for one in (arcc.ARCC, ROADMostRelevantFirst, RemoveMostRelevantFirst):
    assert one.__module__.startswith("camlucida.compat."), one.__module__
"""


def test_install_has_the_metrics() -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", UNDER_ITS_NAME], check=True)


def test_every_public_name_of_the_peer_is_there() -> None:
    for name in ("arcc", "cam_mult_image", "perturbation_confidence", "road"):
        theirs = getattr(peer.metrics, name)
        own = {key for key, one in vars(theirs).items() if getattr(one, "__module__", "") == theirs.__name__}
        mine = sys.modules[f"camlucida.compat.pytorch_grad_cam.metrics.{name}"]
        assert own
        assert not [key for key in own if not hasattr(mine, key)]


def test_scipy_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("camlucida.metrics.road.find_spec", lambda name: None)
    with pytest.raises(OptionError, match=r"camlucida\[metrics\]"):
        road.ROADCombined()(inputs(), maps("spot"), targets(), network("resnet"))
