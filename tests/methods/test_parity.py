"""The released peers beside this library, on the same networks: equal where formulas agree, named where not.

Peers' maps are taken before their ReLU and min-max, since what is compared is the method. The peers add
epsilons to denominators; a score of many times the logit makes them negligible, without wider tolerances.
All of it runs in float64: some formulas are so ill-conditioned on signed layers that the rounding of float32,
which differs between processors, would pass for a difference between formulas.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
import pytorch_grad_cam as peer
import torch
from pytorch_grad_cam.utils.image import scale_cam_image
from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection
from torch import Tensor, nn
from torchcam import methods as torchcam

import zoo
from by_hand import distance
from camlucida import Explainer, Explanation, PerPicture
from camlucida.errors import TargetError
from camlucida.heatmaps.combine import reduce
from camlucida.heatmaps.scale import full_colour_values
from camlucida.methods import registry
from oracles import methods as oracles

TARGET, SCALE = 3, 1e5

PEERS = {
    "gradcam": peer.GradCAM,
    "gradcam++": peer.GradCAMPlusPlus,
    "xgradcam": peer.XGradCAM,
    "layercam": peer.LayerCAM,
    "hirescam": peer.HiResCAM,
    "gradcam_elementwise": peer.GradCAMElementWise,
    "eigencam": peer.EigenCAM,
    "eigengradcam": peer.EigenGradCAM,
    "kpcacam": peer.KPCA_CAM,
    "segeigencam": peer.SegEigenCAM,
}
EVERYWHERE = ["gradcam", "hirescam", "layercam", "gradcam_elementwise"]
DIFFERENT = ["fem", "random"]  # the peer's formula is not the paper's, or the draw another
RELU_ONLY = ["xgradcam", "gradcam++"]
UP_TO_SIGN = ["eigencam", "eigengradcam", "kpcacam", "segeigencam"]


def tokens(height: int, width: int, prefix: int = 0) -> Callable[[Tensor], Tensor]:
    """What a user of the peer has to write for (batch, tokens, channels)."""

    def to_maps(tensor: Tensor) -> Tensor:
        batch, _, channels = tensor.shape
        return tensor[:, prefix:].transpose(1, 2).reshape(batch, channels, height, width)

    return to_maps


def channels_last(tensor: Tensor) -> Tensor:
    return tensor.movedim(-1, 1)


@dataclass(frozen=True)
class Place:
    """A layer of a network, the input's size, and how the peer is told to read what the layer returns."""

    family: str
    layer: str
    size: tuple[int, int]
    reshape: Callable[[Tensor], Tensor] | None = None
    built_for: tuple[int, int] | None = None  # where the network itself has to know the input's size

    def __str__(self) -> str:
        return f"{self.family}-{self.layer}-{self.size[0]}x{self.size[1]}"


WIDE = (64, 96)
# The default layers, and earlier ones: with more positions, and with gradients that differ between them.
PLACES = [
    Place("resnet", "layer4", WIDE),
    Place("resnet", "layer3", WIDE),
    Place("resnet", "layer2", (64, 64)),
    Place("vit", "blocks.2.norm1", (64, 64), tokens(4, 4, prefix=1)),
    Place("vit", "blocks.1.norm1", WIDE, tokens(4, 6, prefix=1), WIDE),
    Place("swin", "layers.3.blocks.1.norm2", WIDE, tokens(2, 3), WIDE),
    Place("swin", "layers.2.blocks.1.norm2", (64, 64), tokens(4, 4)),
    Place("swin", "layers.1.blocks.0.norm1", (64, 64), channels_last),
    Place("convnext", "stages.3.blocks.0.norm", WIDE, channels_last),
    Place("convnext", "stages.2.blocks.1.norm", WIDE, channels_last),
    Place("convnext_channels_first", "stages.3.blocks.0.norm", WIDE),
    Place("convnext_channels_first", "stages.2.blocks.1.norm", WIDE),
]
RELU_PLACES = [place for place in PLACES if place.family == "resnet"]
SIGNED_PLACES = [place for place in PLACES if place.family != "resnet"]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """These networks are so small that threads cost more than they bring, on a busy machine a hundred times."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@dataclass(frozen=True)
class Seen:
    """What the peer made (batch, height, width) of what (batch, channels, height, width)."""

    raw: Tensor
    shown: np.ndarray
    activations: np.ndarray
    gradients: np.ndarray | None


@cache
def network(place: Place) -> nn.Module:
    arguments = {"img_size": place.built_for} if place.built_for else {}
    return zoo.FAMILIES[place.family](**arguments).double()


def inputs(place: Place) -> Tensor:
    return zoo.noise(2, *place.size).double()


def run_peer(
    cam_class: type[peer.GradCAM],
    module: nn.Module,
    layer: str,
    batch: Tensor,
    targets: list[Callable[[Tensor], Tensor]],
    reshape: Callable[[Tensor], Tensor] | None = None,
) -> Seen:
    """The peer's map before and after what it does for showing."""
    kept = {}

    def get_cam_image(self: peer.GradCAM, *arguments: object) -> np.ndarray:
        kept["raw"] = cam_class.get_cam_image(self, *arguments)
        kept["activations"], kept["gradients"] = arguments[3:5]
        return kept["raw"]

    recording = type("Recording", (cam_class,), {"get_cam_image": get_cam_image})
    with recording(module, [module.get_submodule(layer)], reshape_transform=reshape) as cam:
        shown = cam(batch, targets)
    module.zero_grad()  # the peer leaves the parameters' gradients behind
    return Seen(torch.from_numpy(kept["raw"].copy()), shown, kept["activations"], kept["gradients"])


def logit(scale: float) -> Callable[[Tensor], Tensor]:
    """A score: the peer hands it (classes,), this library (batch, classes)."""
    return lambda output: scale * output[..., TARGET]


@cache
def peer_at(place: Place, name: str) -> Seen:
    batch = inputs(place)
    targets = [logit(SCALE)] * len(batch)
    return run_peer(PEERS[name], network(place), place.layer, batch, targets, place.reshape)


@cache
def ours_at(place: Place, scale: float = SCALE) -> dict[str, Tensor]:
    """The maps (batch, height, width) of all methods that have a peer."""
    explainer = Explainer(network(place))
    explanations = explainer.explain(inputs(place), list(PEERS), [logit(scale)], [place.layer])
    found: dict[str, list[Tensor]] = {name: [] for name in PEERS}
    for explanation in explanations:
        found[explanation.method].append(explanation.heatmap)
    return {name: torch.stack(maps) for name, maps in found.items()}


# -- where formulas agree ---------------------------------------------------------------------------------


def test_every_method_has_its_peer_or_is_ours_alone() -> None:
    assert set(PEERS) == set(oracles.ORACLES) - set(DIFFERENT)
    assert {*EVERYWHERE, *RELU_ONLY, *UP_TO_SIGN} == set(PEERS)
    assert {place.family for place in PLACES} == set(zoo.FAMILIES)


@pytest.mark.parametrize("place", PLACES, ids=str)
@pytest.mark.parametrize("name", EVERYWHERE)
def test_same_map_as_grad_cam(name: str, place: Place) -> None:
    assert (distance(ours_at(place)[name], peer_at(place, name).raw) < 1e-5).all()


@pytest.mark.parametrize("place", RELU_PLACES, ids=str)
@pytest.mark.parametrize("name", RELU_ONLY)
def test_same_map_as_grad_cam_behind_a_relu(name: str, place: Place) -> None:
    seen = peer_at(place, name)
    assert seen.activations.min() >= 0
    assert (distance(ours_at(place)[name], seen.raw) < 1e-5).all()


@pytest.mark.parametrize("place", PLACES, ids=str)
@pytest.mark.parametrize("name", UP_TO_SIGN)
def test_same_map_as_grad_cam_up_to_sign(name: str, place: Place) -> None:
    reference, found = peer_at(place, name).raw, ours_at(place)[name]
    sign = torch.sign((reference * found).sum(dim=(1, 2), keepdim=True))
    assert (distance(found, sign * reference) < 1e-5).all()


@pytest.mark.parametrize("place", [place for place in PLACES if place.layer != "layer4"], ids=str)
def test_places_tell_methods_apart(place: Place) -> None:
    """Else a method could be taken for another, as behind layer4, whose gradient is the same everywhere."""
    maps = ours_at(place)
    for name in EVERYWHERE:
        others = [other for other in EVERYWHERE if other != name]
        if place in RELU_PLACES:  # where a product is positive if its gradient is
            others = [other for other in others if {name, other} != {"layercam", "gradcam_elementwise"}]
        assert all((distance(maps[other], maps[name]) > 1e-3).all() for other in others)


@pytest.mark.parametrize("place", PLACES, ids=str)
@pytest.mark.parametrize("name", PEERS)
def test_the_pipeline_gives_the_oracles_map(name: str, place: Place) -> None:
    """Of the activations and gradients that the peer saw: also where the peer's own map is wrong.

    For the plain logit, where Grad-CAM++ is far from the limit in which gradients no longer matter.
    """
    seen = peer_at(place, "hirescam")
    pairs = zip(seen.activations, seen.gradients / SCALE, strict=True)
    expected = torch.from_numpy(np.stack([oracles.ORACLES[name](*pair) for pair in pairs]))
    assert (distance(ours_at(place, 1)[name].double(), expected) < 1e-5).all()


# -- where grad-cam is wrong ------------------------------------------------------------------------------


def peer_weights(cam_class: type[peer.GradCAM], activations: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """The peer's channel weights (batch, channels): this function uses nothing of the instance."""
    weights: np.ndarray = cam_class.get_cam_weights(None, None, None, None, activations, gradients)
    return weights


def our_map(name: str, activations: np.ndarray, gradients: np.ndarray) -> Tensor:
    return reduce(
        registry.get_method(name).function(torch.from_numpy(activations), torch.from_numpy(gradients))
    )


def one_channel(*values: float) -> np.ndarray:
    """(1, 1, 1, width)."""
    return np.array(values).reshape(1, 1, 1, -1)


def test_gradcam_plus_plus_of_the_peer_explodes_where_its_denominator_crosses_zero() -> None:
    """For g = 1 the denominator is 2 + S, and behind a LayerNorm S may be anything."""
    activations, gradients = one_channel(1, -3.001), one_channel(1, 0)
    assert peer_weights(peer.GradCAMPlusPlus, activations, gradients)[0, 0] < -900
    weights = oracles.gradcam_plus_plus_weights(activations[0], gradients[0])
    assert weights == [pytest.approx(1 / 3)]
    found = our_map("gradcam++", activations, gradients)
    torch.testing.assert_close(found[0], torch.from_numpy(activations[0, 0] / 3))


@pytest.mark.parametrize("place", SIGNED_PLACES, ids=str)
def test_gradcam_plus_plus_of_the_peer_has_negative_weights_on_real_layers(place: Place) -> None:
    """They are sums of positive gradients, each at most halved: none is negative or above half the sum."""
    seen = peer_at(place, "gradcam++")
    half = np.maximum(seen.gradients, 0).sum(axis=(2, 3)) / 2
    wrong = peer_weights(peer.GradCAMPlusPlus, seen.activations, seen.gradients)
    assert ((wrong < 0) | (wrong > half)).any()
    pairs = zip(seen.activations, seen.gradients, strict=True)
    weights = np.array([oracles.gradcam_plus_plus_weights(*pair) for pair in pairs])
    assert ((weights >= 0) & (weights <= half * (1 + 1e-6))).all()


def test_gradcam_plus_plus_of_the_peer_is_drowned_by_its_epsilon() -> None:
    """With gradients of 1e-5, ordinary for a mean over positions, its weights are 1e4 times too small."""
    activations, gradients = one_channel(1, 2), one_channel(1e-5, 2e-5)
    (expected,) = oracles.gradcam_plus_plus_weights(activations[0], gradients[0])
    assert peer_weights(peer.GradCAMPlusPlus, activations, gradients)[0, 0] < 1e-3 * expected
    expected_map = torch.from_numpy(expected * activations[0])
    torch.testing.assert_close(our_map("gradcam++", activations, gradients), expected_map)


def test_xgradcam_of_the_peer_explodes_where_its_denominator_crosses_zero() -> None:
    """A channel that adds up to nothing gets 1e7 times its weight, or NaN if it cancels epsilon."""
    gradients = one_channel(1, 0)
    balanced, cancelling = one_channel(1, -1), one_channel(1e-7, -2e-7)
    assert peer_weights(peer.XGradCAM, balanced, gradients)[0, 0] == pytest.approx(1e7)
    assert oracles.xgradcam_weights(balanced[0], gradients[0]) == [0]
    assert torch.equal(our_map("xgradcam", balanced, gradients), torch.zeros(1, 1, 2, dtype=torch.float64))

    with np.errstate(divide="ignore", invalid="ignore"):
        assert not abs(peer_weights(peer.XGradCAM, cancelling, gradients)[0, 0]) < 1e6  # infinite or NaN
    (weight,) = oracles.xgradcam_weights(cancelling[0], gradients[0])
    assert weight == pytest.approx(-1)
    found = our_map("xgradcam", cancelling, gradients)
    torch.testing.assert_close(found, torch.from_numpy(-cancelling[0]))
    # what the method promises: contributions add up to gradient times activation
    assert float(found.sum()) == pytest.approx(float((cancelling * gradients).sum()))


@pytest.mark.parametrize("name", UP_TO_SIGN)
def test_components_of_the_peer_flip_when_channels_change_places(name: str) -> None:
    """The same network with its channels numbered otherwise has the opposite map."""
    place = next(place for place in PLACES if place.layer == "layers.1.blocks.0.norm1")
    seen, ours, entry = peer_at(place, "hirescam"), ours_at(place)[name], registry.get_method(name)
    fields = {"activations": seen.activations, "gradients": seen.gradients}
    reference = get_2d_projection(np.prod([fields[need] for need in entry.needs], axis=0))
    flips = 0
    for seed in range(20):
        order = np.random.default_rng(seed).permutation(seen.activations.shape[1])
        permuted = [fields[need][:, order] for need in entry.needs]
        theirs = get_2d_projection(np.prod(permuted, axis=0))
        flips += int(((theirs * reference).sum(axis=(1, 2)) < 0).sum())
        assert (distance(entry.function(*map(torch.from_numpy, permuted)).values, ours) < 1e-5).all()
    assert flips > 0


def test_small_maps_are_flattened_by_the_peers_epsilon() -> None:
    small = torch.tensor([[0.0, 0.5e-9], [1e-9, 0.0]])
    assert scale_cam_image(small[None].numpy()).max() < 0.01
    assert (small / full_colour_values([small], "picture")[0]).max() == 1


def test_small_scores_are_drawn_as_large_ones() -> None:
    """A score in other units is the same explanation; the peer's picture of it is blank.

    Gradients as small as these are what a softmax near 1 leaves.
    """
    place = PLACES[1]
    module, batch, scores = network(place), inputs(place)[:1], [logit(1), logit(1e-18)]
    shown = [run_peer(peer.GradCAM, module, place.layer, batch, [score]).shown for score in scores]
    assert shown[0].max() > 0.99
    assert shown[1].max() < 0.01
    large, small = Explainer(module).explain(batch, ["gradcam"], scores, [place.layer])
    pictures = [np.asarray(one.overlay(), dtype=int) for one in (large, small)]
    assert np.ptp(pictures[0]) > 100
    assert np.abs(pictures[0] - pictures[1]).max() <= 3  # of 255: a step of the colour table, by rounding


class Against(nn.Module):
    """A ReLU network in which all evidence is evidence against class 0."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.ReLU())
        self.head = nn.Linear(5, 2)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.head(self.features(pictures).mean(dim=(2, 3)))


def against() -> nn.Module:
    module = zoo.redraw(Against())
    with torch.no_grad():
        module.head.weight[0] = -module.head.weight[0].abs()
    return module


def test_evidence_against_is_silently_blank_in_the_peer_and_kept_here() -> None:
    module, batch = against(), zoo.noise(1, 8, 12)
    seen = run_peer(peer.GradCAM, module, "features", batch, [lambda output: output[0]])
    assert not seen.shown.any()
    (explanation,) = Explainer(module).explain(batch, ["gradcam"], [0], ["features"])
    assert float(explanation.heatmap.max()) <= 0
    assert float(distance(explanation.heatmap[None], seen.raw)) < 1e-5
    assert [finding.code for finding in explanation.health] == ["negative-only"]


def test_a_short_list_of_targets_is_silently_zero_in_the_peer_and_refused_here() -> None:
    place = PLACES[1]
    seen = run_peer(peer.GradCAM, network(place), place.layer, inputs(place), [logit(1)])
    assert seen.shown[0].max() > 0.99
    assert not seen.shown[1].any()
    with pytest.raises(TargetError, match="got 1 for 2 pictures"):
        Explainer(network(place)).explain(inputs(place), ["gradcam"], [PerPicture([TARGET])], [place.layer])


# -- torchcam ---------------------------------------------------------------------------------------------


def run_torchcam(cam_class: type[torchcam.GradCAM], place: Place) -> Tensor:
    """The map (batch, height, width) behind the peer's ReLU, not normalised."""
    module = network(place)
    with cam_class(module, place.layer) as extractor:
        scores = module(inputs(place))
        (found,) = extractor(TARGET, scores, normalized=False)
    return found


def explanations_at(place: Place, method: str) -> list[Explanation]:
    return Explainer(network(place)).explain(inputs(place), [method], [TARGET], [place.layer])


@pytest.mark.parametrize("place", RELU_PLACES, ids=str)
@pytest.mark.parametrize(
    ("name", "cam_class"), [("gradcam", torchcam.GradCAM), ("layercam", torchcam.LayerCAM)]
)
def test_same_map_as_torchcam(name: str, cam_class: type[torchcam.GradCAM], place: Place) -> None:
    found = torch.stack([explanation.heatmap for explanation in explanations_at(place, name)])
    assert (distance(found.clamp(min=0), run_torchcam(cam_class, place)) < 1e-5).all()


def test_gradcam_plus_plus_of_torchcam_has_no_denominator() -> None:
    """It divides a copy: its weights are sums of g squared times relu(g)."""
    place = PLACES[1]
    seen = peer_at(place, "hirescam")
    activations, gradients = (torch.from_numpy(one) for one in (seen.activations, seen.gradients / SCALE))
    weights = (gradients**2 * gradients.relu()).sum(dim=(2, 3), keepdim=True)
    undivided = (weights * activations).sum(dim=1).relu()
    theirs = run_torchcam(torchcam.GradCAMpp, place)
    assert (distance(theirs, undivided) < 1e-5).all()

    pairs = zip(activations.double().numpy(), gradients.double().numpy(), strict=True)
    expected = torch.from_numpy(np.stack([oracles.gradcam_plus_plus(*pair) for pair in pairs]))
    ours = torch.stack([explanation.heatmap for explanation in explanations_at(place, "gradcam++")])
    assert (distance(ours.double(), expected) < 1e-5).all()
    shapes = [one / one.amax(dim=(1, 2), keepdim=True) for one in (theirs.double(), expected)]
    assert (distance(*shapes) > 0.01).all()
