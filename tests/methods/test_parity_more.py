"""The methods that ask for more than one gradient, beside the peers that have them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import pytorch_grad_cam as peer
import torch
from pytorch_grad_cam.utils.model_targets import ClassifierOutputReST, FinerWeightedTarget
from test_parity import PLACES, RELU_PLACES, SCALE, TARGET, Place, inputs, network, peer_at, run_peer
from torch import Tensor
from torchcam import methods as torchcam

from by_hand import distance
from camlucida import Explainer
from oracles import methods as oracles

LATE, EARLY, EARLIEST = RELU_PLACES  # layer4, whose gradient is the same everywhere, layer3 and layer2


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """These networks are so small that threads cost more than they bring, on a busy machine a hundred times."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def ours(place: Place, method: str, layer: str | None = None, index: int = TARGET, **options: Any) -> Tensor:
    explainer = Explainer(network(place))
    found = explainer.explain(inputs(place), [method], [index], [layer or place.layer], {method: options})
    return torch.stack([one.heatmap for one in found])


def theirs(extractor: Any, place: Place, index: int = TARGET) -> Tensor:
    """The map (batch, height, width) behind torchcam's ReLU."""
    with extractor:
        scores = network(place)(inputs(place))
        (found,) = extractor([index] * len(scores), scores, normalized=False)
    return found.detach()


def test_cam_is_that_of_torchcam() -> None:
    place = LATE
    expected = theirs(torchcam.CAM(network(place), place.layer, "fc"), place)
    assert (distance(ours(place, "cam").clamp(min=0), expected) < 1e-5).all()


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_segeigencam_has_the_peers_sign_where_the_extremes_differ(place: Place) -> None:
    reference, found = peer_at(place, "segeigencam").raw, SCALE * ours(place, "segeigencam")
    low, high = -reference.amin(dim=(1, 2)), reference.amax(dim=(1, 2))
    clear = (high - low).abs() > 1e-3 * high
    assert (distance(found, reference)[clear] < 1e-5).all()


@pytest.mark.parametrize("place", RELU_PLACES, ids=str)
@pytest.mark.parametrize(("alpha", "references"), [(0.6, 3), (1.0, 5)])
def test_finercam_is_that_of_torchcam(place: Place, alpha: float, references: int) -> None:
    for base, peer_base in (("gradcam", torchcam.GradCAM), ("layercam", torchcam.LayerCAM)):
        extractor = torchcam.FinerCAM(
            network(place), place.layer, base_method=peer_base, gamma=alpha, num_references=references
        )
        found = ours(place, "finercam", alpha=alpha, references=references, base=base)
        assert (distance(found.clamp(min=0), theirs(extractor, place)) < 1e-5).all()


def test_finercam_of_grad_cam_is_another_score() -> None:
    """It differentiates the softmax that weighs the references along with them."""
    place = EARLY
    batch, module = inputs(place), network(place)
    with torch.no_grad():
        logits = module(batch)
    apart = (logits - logits[:, TARGET, None]).abs()
    others = [order[1:4] for order in apart.argsort(dim=1).tolist()]
    targets = [FinerWeightedTarget(TARGET, three, 0.6) for three in others]
    seen = run_peer(peer.GradCAM, module, place.layer, batch, targets)
    assert (distance(ours(place, "finercam"), seen.raw) > 0.05).all()


@pytest.mark.parametrize("place", RELU_PLACES, ids=str)
def test_shapleycam_is_that_of_grad_cam(place: Place) -> None:
    targets = [ClassifierOutputReST(TARGET)] * 2
    seen = run_peer(peer.ShapleyCAM, network(place), place.layer, inputs(place), targets)
    assert (distance(ours(place, "shapleycam"), seen.raw) < 1e-5).all()
    assert (distance(ours(place, "gradcam"), seen.raw) > 0.01).all()


def test_smoothgradcam_plus_plus_is_that_of_torchcam_where_its_sums_are_right() -> None:
    """Without noise and with a gradient that is the same everywhere.

    There it does not matter that the peer adds up activation times cube, position by position, nor that it
    keeps the last sample's gradient and activations alone. A larger score makes its epsilon negligible.
    """
    place = LATE
    extractor = torchcam.SmoothGradCAMpp(network(place), place.layer, num_samples=3, std=1e-12)
    found = ours(place, "smoothgradcam++", std=0.0, samples=3)
    assert (distance(found.clamp(min=0), theirs(extractor, place)) < 1e-3).all()


def test_smoothgradcam_plus_plus_of_torchcam_is_not_gradcam_plus_plus_without_noise() -> None:
    place = EARLY
    extractor = torchcam.SmoothGradCAMpp(network(place), place.layer, num_samples=3, std=1e-12)
    expected = ours(place, "gradcam++")
    assert (distance(ours(place, "smoothgradcam++", std=0.0), expected) < 1e-5).all()
    assert (distance(theirs(extractor, place), expected.clamp(min=0)) > 0.01).all()


def test_noise_of_torchcam_is_another_each_time() -> None:
    place = LATE
    extractors = [torchcam.SmoothGradCAMpp(network(place), place.layer) for _ in range(2)]
    one, other = (theirs(extractor, place) for extractor in extractors)
    assert (distance(one, other) > 1e-3).all()
    assert torch.equal(ours(place, "smoothgradcam++"), ours(place, "smoothgradcam++"))


@pytest.mark.parametrize("base", ["gradcam", "layercam"])
def test_refinecam_is_that_of_torchcam_but_for_where_zero_lies(base: str) -> None:
    """The peer stretches each map from its smallest value, so that what is weakest counts nothing at all."""
    layers, place, index = [EARLY.layer, LATE.layer], LATE, 5  # some positions speak against this class
    peer_base = {"gradcam": torchcam.GradCAM, "layercam": torchcam.LayerCAM}[base]
    extractor = torchcam.RefineCAM(network(place), layers, base_method=peer_base)
    expected = theirs(extractor, place, index)
    found = ours(place, "refinecam", "+".join(layers), index, base=base)
    parts = [ours(place, base, layer, index).clamp(min=0) for layer in layers]
    from_zero = all(not bool(part.amin(dim=(1, 2)).any()) for part in parts)
    assert from_zero == (base == "gradcam")
    apart = distance(found, expected)
    assert bool((apart < 1e-5).all()) if from_zero else bool((apart > 0.01).all())


def test_fem_of_grad_cam_is_not_the_papers() -> None:
    """It weighs all activations with the share of those that stand out, in place of the mask with the mean."""
    place = EARLIEST
    seen = run_peer(peer.FEM, network(place), place.layer, inputs(place), [lambda output: output[TARGET]] * 2)
    activations = np.float64(seen.activations)
    means, deviations = activations.mean(axis=(2, 3)), activations.std(axis=(2, 3))
    standing = activations > (means + 2 * deviations)[:, :, None, None]
    share = standing.mean(axis=(2, 3), keepdims=True)
    undone = torch.from_numpy((share * activations).sum(axis=1))
    assert (distance(undone, seen.raw.double()) < 1e-5).all()

    expected = torch.from_numpy(np.stack([oracles.fem(one, one) for one in activations]))
    found = ours(place, "fem").double()
    assert (distance(found, expected) < 1e-5).all()
    assert (distance(found / found.amax(), seen.raw.double() / seen.raw.amax()) > 0.01).all()
