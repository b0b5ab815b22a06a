"""The testbed's pictures are what they say, its models are right, and maps point at what the models go by."""

import subprocess
import sys
from dataclasses import dataclass, replace
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from camlucida import testbed
from camlucida.capture.captures import OutputReaders
from camlucida.capture.layout import Layout
from camlucida.errors import ModelError, OptionError
from camlucida.pipeline.explainer import Explainer
from camlucida.testbed import game, networks, pictures, train

FAMILIES = tuple(networks.NETWORKS)
LEAST = {"resnet": 0.95, "convnext": 0.95, "vit": 0.85, "swin": 0.85}  # of gradcam's pointing game
BEST = dict.fromkeys(FAMILIES, "gradcam")
HELD_OUT = 2_000_000_001


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> object:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@cache
def plain() -> testbed.Samples:
    return testbed.samples(200, HELD_OUT)


@cache
def tagged() -> testbed.TaggedSamples:
    return testbed.conflict_samples(200, HELD_OUT)


@cache
def trained(name: str) -> nn.Module:
    return networks.read(name)


@cache
def mapped(name: str, method: str = "gradcam") -> Tensor:
    shortcut = name.startswith(networks.SHORTCUT)
    return testbed.maps(trained(name), tagged() if shortcut else plain(), method)


# The pictures


def test_pictures_are_ready_for_the_models() -> None:
    made = testbed.samples(16, 3)
    assert made.pictures.shape == (16, 3, pictures.SIZE, pictures.SIZE)
    assert made.pictures.dtype == torch.float32
    assert 0 <= made.pictures.min() < 0.2
    assert 0.8 < made.pictures.max() <= 1
    assert made.masks.shape == (16, pictures.SIZE, pictures.SIZE)
    assert made.masks.dtype == torch.bool


@pytest.mark.parametrize("make", [testbed.samples, testbed.shortcut_samples, testbed.conflict_samples])
def test_a_seed_makes_the_same_pictures_again(make) -> None:
    one, again, other = make(8, 5), make(8, 5), make(8, 6)
    for name in vars(one):
        assert torch.equal(getattr(one, name), getattr(again, name))
    assert not torch.equal(one.pictures, other.pictures)


@pytest.mark.parametrize("n", [1, 8, 13, 80])
def test_labels_are_balanced(n) -> None:
    counts = testbed.samples(n).labels.bincount(minlength=len(testbed.CLASSES))
    assert counts.sum() == n
    assert counts.max() - counts.min() <= 1


def test_no_pictures_are_refused() -> None:
    for make in (testbed.samples, testbed.shortcut_samples, testbed.conflict_samples):
        with pytest.raises(OptionError, match="at least 1, got 0"):
            make(0)


def test_the_mask_is_where_the_form_is(monkeypatch) -> None:
    """The same pictures with forms of stronger contrast differ inside the masks alone, up to soft edges."""
    made = testbed.samples(40, 1)
    monkeypatch.setattr(pictures, "_CONTRAST", 0.9)
    stronger = testbed.samples(40, 1)
    assert torch.equal(made.masks, stronger.masks)
    changed = (made.pictures != stronger.pictures).any(dim=1)
    around = torch.nn.functional.max_pool2d(made.masks[:, None].float(), 5, 1, 2)[:, 0] > 0
    assert not (changed & ~around).any()
    assert (changed & made.masks).sum() > 0.3 * made.masks.sum()


def test_masks_are_whole_and_of_one_size_of_form() -> None:
    made = testbed.samples(400, 2)
    areas = made.masks.sum(dim=(1, 2))
    assert areas.min() > 150
    assert areas.max() < 900


def test_forms_lie_anywhere() -> None:
    made = testbed.samples(400, 2)
    half = pictures.SIZE // 2
    for part in (made.masks[:, :half], made.masks[:, half:], made.masks[:, :, :half], made.masks[:, :, half:]):
        mostly = part.sum(dim=(1, 2)) > made.masks.sum(dim=(1, 2)) / 2
        assert 0.4 < mostly.float().mean() < 0.6


def test_colour_does_not_tell_the_class() -> None:
    """Mean colours of picture and form do not depend on the class beyond chance."""
    made = testbed.samples(400, 4)
    inside = made.masks[:, None].float()
    colour = (made.pictures * inside).sum(dim=(2, 3)) / inside.sum(dim=(2, 3))
    for values in (colour, made.pictures.mean(dim=(2, 3))):
        means = torch.stack([values[made.labels == label].mean(dim=0) for label in range(8)])
        chance = values.std(dim=0) / 50**0.5
        assert ((means - values.mean(dim=0)).abs() < 4 * chance).all()


def test_the_tag_has_the_colour_of_the_class_and_lies_beside_the_form() -> None:
    made = testbed.shortcut_samples(160, 3)
    assert (made.tags.sum(dim=(1, 2)) > 100).all()
    assert (made.tags & made.masks).sum() <= 0.002 * made.tags.sum()
    centre = torch.nn.functional.avg_pool2d(made.tags[:, None].float(), 9, 1, 4)[:, 0] > 0.999
    for picture, label, spot in zip(made.pictures, made.labels, centre, strict=True):
        hue = picture[:, spot].mean(dim=1)
        assert (hue - pictures._HUES).norm(dim=1).argmin() == label


def test_in_conflict_the_tag_is_of_another_class_than_the_form() -> None:
    """So that a model of forms is never right by the tags' labels."""
    assert accuracy("resnet", tagged()) < 0.05
    hue = tagged().pictures.where(tagged().tags[:, None], 0).sum(dim=(2, 3)) / 81  # of the inner 9×9 pixels
    assert ((hue[:, None] - pictures._HUES).norm(dim=2).argmin(dim=1) == tagged().labels).float().mean() > 0.95


# The models


def test_there_is_one_model_of_each_family() -> None:
    assert tuple(testbed.models()) == tuple(testbed.shortcut_models()) == FAMILIES
    for name, module in testbed.models().items():
        assert not module.training
        assert type(module).__name__.lower().startswith({"vit": "visiontransformer"}.get(name, name))


@pytest.mark.parametrize("prefix", ["", networks.SHORTCUT])
@pytest.mark.parametrize("family", FAMILIES)
def test_weights_are_small(family, prefix) -> None:
    assert networks.weights_of(prefix + family).stat().st_size < 1_000_000


@pytest.mark.parametrize("family", FAMILIES)
def test_models_know_the_forms(family) -> None:
    assert accuracy(family, plain()) >= 0.97


@pytest.mark.parametrize("family", FAMILIES)
def test_shortcut_models_go_by_the_tag(family) -> None:
    """Where tag and form disagree, which no training has shown them."""
    assert accuracy(networks.SHORTCUT + family, tagged()) >= 0.95


def accuracy(name: str, of: testbed.Samples) -> float:
    with torch.no_grad():
        answers = torch.cat([trained(name)(part).argmax(dim=1) for part in of.pictures.split(50)])
    return float((answers == of.labels).float().mean())


@pytest.mark.parametrize("family", FAMILIES)
def test_default_layers_have_a_fine_grid(family) -> None:
    assert mapped(family).shape[1:] == pictures.GRID
    assert min(pictures.GRID) >= 7


def test_weights_that_are_not_there_are_said_how_to_make(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(networks, "_FOLDER", tmp_path)
    with pytest.raises(ModelError, match=r"python -m camlucida\.testbed\.train vit"):
        networks.read("vit")


def test_training_is_repeatable_and_what_it_writes_can_be_read(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(networks, "_FOLDER", tmp_path)
    one, again = train.train("shortcut-resnet", steps=2), train.train("shortcut-resnet", steps=2)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), again.parameters(), strict=True))
    networks.write(one, "shortcut-resnet")
    read = networks.read("shortcut-resnet")
    torch.testing.assert_close(read.state_dict(), one.state_dict(), rtol=1e-3, atol=1e-6)


def test_a_network_that_does_not_exist_is_not_trained() -> None:
    with pytest.raises(OptionError, match="did you mean 'resnet'"):
        train.train("resnett")


# The game


@pytest.mark.parametrize("family", FAMILIES)
def test_gradcam_points_at_the_form(family) -> None:
    assert testbed.pointing(mapped(family), plain().masks) >= LEAST[family]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_best_method_points_at_the_form(family) -> None:
    assert testbed.pointing(mapped(family, BEST[family]), plain().masks) >= 0.95


@pytest.mark.parametrize("family", FAMILIES)
def test_the_energy_lies_inside_the_mask(family) -> None:
    control = float(plain().masks.float().mean())
    assert testbed.energy_inside(mapped(family), plain().masks) >= 3 * control
    assert testbed.energy_inside(torch.ones(200, 8, 8), plain().masks) == pytest.approx(control, abs=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_maps_of_shortcut_models_point_at_the_tag(family) -> None:
    made = mapped(networks.SHORTCUT + family)
    assert testbed.pointing(made, tagged().tags) >= 0.95
    assert testbed.pointing(made, tagged().masks) <= 0.2


def test_chance_does_not_point() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn((200, 8, 8), generator=generator)
    assert testbed.pointing(noise, plain().masks) < 0.35


def test_the_game_is_played_by_all_families() -> None:
    rates = testbed.pointing_game(n=16)
    assert tuple(rates) == FAMILIES
    assert all(rate >= 0.8 for rate in rates.values())


def test_a_method_that_does_not_exist_is_refused() -> None:
    few = testbed.samples(2, 1)
    with pytest.raises(OptionError, match="gradcamm"):
        testbed.maps(trained("resnet"), few, "gradcamm")


def test_pointing_counts_touched_cells() -> None:
    masks = torch.zeros(2, 64, 64, dtype=torch.bool)
    masks[:, 15, 15] = True  # in the second cell from the top and left
    maps = torch.zeros(2, 8, 8)
    maps[0, 1, 1] = maps[1, 1, 2] = 1
    assert testbed.pointing(maps, masks) == 0.5
    assert testbed.energy_inside(maps, masks) == pytest.approx(0.5 / 64)
    with pytest.raises(OptionError, match="got 1 for 2"):
        testbed.pointing(maps, masks[:1])


# Faults that the game notices


@dataclass(frozen=True)
class Transposed(Layout):
    """Rows read as columns."""

    def to_maps(self, tensor: Tensor) -> Tensor:
        return super().to_maps(tensor).transpose(2, 3)


def transposed(layout: Layout) -> Layout:
    return Transposed(**vars(layout))


def off_by_one(layout: Layout) -> Layout:
    """The class token is taken for the first position."""
    return replace(layout, prefix=layout.prefix - 1, suffix=layout.suffix + 1)


def misread(fault, name: str, of: testbed.Samples, monkeypatch) -> Tensor:
    """The maps that come of a wrong layout."""

    class Misreading(Explainer):
        def readers(self, like: Tensor) -> OutputReaders:
            right = super().readers(like)
            return replace(right, layout_of=lambda layer, tensor: fault(right.layout_of(layer, tensor)))

    monkeypatch.setattr(game, "Explainer", Misreading)
    return testbed.maps(trained(name), of)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_transposed_grid_is_noticed(family, monkeypatch) -> None:
    assert testbed.pointing(misread(transposed, family, plain(), monkeypatch), plain().masks) < 0.75


def test_a_prefix_off_by_one_is_noticed(monkeypatch) -> None:
    made = misread(off_by_one, "vit", plain(), monkeypatch)
    assert testbed.pointing(made, plain().masks) < LEAST["vit"] - 0.05


def test_a_prefix_off_by_one_is_noticed_by_the_shortcut_model(monkeypatch) -> None:
    made = misread(off_by_one, "shortcut-vit", tagged(), monkeypatch)
    assert testbed.pointing(made, tagged().tags) < 0.9


def test_faultless_misreading_changes_nothing(monkeypatch) -> None:
    made = misread(lambda layout: layout, "vit", plain(), monkeypatch)
    assert torch.equal(made, mapped("vit"))


# The package


@pytest.mark.parametrize("code", ["import camlucida.testbed", "from camlucida import testbed; dir(testbed)"])
def test_importing_it_loads_nothing_heavy(code) -> None:
    probe = f"import sys\n{code}\nassert not {{'torch', 'numpy', 'timm'}} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", probe], check=True)


def test_camlucida_does_not_import_it() -> None:
    probe = (
        "import sys\nfrom camlucida.methods.registry import all_methods\nall_methods()\n"
        "assert 'camlucida.testbed' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", probe], check=True)


def test_its_names_all_exist() -> None:
    for name in testbed.__all__:
        assert getattr(testbed, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonesuch'"):
        _ = testbed.nonesuch
