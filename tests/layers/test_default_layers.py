"""The right layer, or none: on networks as people build them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import timm
import torch
import torchvision
from torch import Tensor, fx, nn
from torch.nn import functional

import zoo
from by_hand import assert_near, by_hand, small
from camlucida import Explainer
from camlucida.errors import LayerError, TargetError


def inputs(height: int = 64, width: int = 64, channels: int = 3) -> Tensor:
    return zoo.noise(1, height, width, channels)


# -- several layers that carry the score together ---------------------------------------------------------


class Ensemble(nn.Module):
    def __init__(self, *nets: nn.Module) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)

    def forward(self, batch: Tensor) -> Tensor:
        return torch.stack([net(batch) for net in self.nets]).mean(dim=0)


@pytest.mark.parametrize("count", [2, 5])
def test_of_an_ensemble_each_networks_last_layer_is_added(count: int) -> None:
    module = Ensemble(*map(small, range(count)))
    (found,) = Explainer(module).explain(inputs(), targets=[3])
    assert sorted(found.layer.split("+")) == [f"nets.{i}.layer4" for i in range(count)]
    assert_near(found.heatmap, sum(by_hand(module, f"nets.{i}.layer4", inputs(), 3) for i in range(count)))
    assert list(dict.fromkeys(one.code for one in found.findings)) == ["layer-choice"]


@pytest.mark.parametrize(
    ("make", "last"),
    [
        (lambda seed: zoo.redraw(torchvision.models.mobilenet_v3_small(num_classes=5), seed), "features"),
        (lambda seed: zoo.redraw(timm.create_model("convnext_atto", num_classes=5), seed), ""),
        (
            lambda seed: zoo.redraw(timm.create_model("vit_tiny_patch16_224", img_size=64, depth=2), seed),
            "norm1",
        ),
    ],
    ids=["mobilenet", "convnext", "vit"],
)
def test_of_other_ensembles_both_networks_are_looked_at(make: Callable[[int], nn.Module], last: str) -> None:
    module = Ensemble(make(0), make(1))
    (found,) = Explainer(module).explain(inputs(), targets=[3])
    first, second = sorted(found.layer.split("+"))
    assert first.startswith("nets.0")
    assert first.replace("nets.0", "nets.1") == second
    assert last in first


class TwoStreams(nn.Module):
    """Colour and depth, each by a network of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.rgb = timm.create_model("resnet10t", num_classes=0)
        self.depth = timm.create_model("resnet10t", num_classes=0, in_chans=1)
        self.head = nn.Linear(1024, 7)

    def forward(self, batch: Tensor, depth: Tensor | None = None) -> Tensor:
        if depth is None:
            batch, depth = batch[:, :3], batch[:, 3:]
        return self.head(torch.cat([self.rgb(batch), self.depth(depth)], dim=1))


def test_of_four_channels_split_inside_both_streams_are_looked_at() -> None:
    module = zoo.redraw(TwoStreams())
    (found,) = Explainer(module).explain(inputs(channels=4), targets=[2])
    assert sorted(found.layer.split("+")) == ["depth.layer4", "rgb.layer4"]
    streams = [by_hand(module, f"{name}.layer4", inputs(channels=4), 2) for name in ("rgb", "depth")]
    assert_near(found.heatmap, sum(streams))


def test_of_a_second_picture_beside_the_first_nothing_depends_on_the_place_asked_for() -> None:
    """The second stream does not see the picture: only the first one's layers can show where."""
    module = zoo.redraw(TwoStreams())
    depth = zoo.noise(1, 64, 64, 1, seed=4)
    (found,) = Explainer(module, args=[depth]).explain(inputs(), targets=[2])
    assert found.layer == "rgb.layer4"
    assert_near(found.heatmap, by_hand(module, "rgb.layer4", inputs(), 2, depth))


def test_a_traced_network_whose_sums_are_no_modules() -> None:
    module = fx.symbolic_trace(zoo.redraw(torchvision.models.resnet18(num_classes=5)))
    (found,) = Explainer(module).explain(inputs(), targets=[1])
    names = found.layer.split("+")
    assert all(name.startswith("layer4") for name in names)
    assert_near(found.heatmap, sum(by_hand(module, name, inputs(), 1) for name in names))


class UNet(nn.Module):
    """A decoder with skips, and a classifier behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.down1 = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU())
        self.down2 = nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU())
        self.down3 = nn.Sequential(nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU())
        self.up = nn.Upsample(scale_factor=2)
        self.up2 = nn.Sequential(nn.Conv2d(48, 16, 3, 1, 1), nn.ReLU())
        self.up1 = nn.Sequential(nn.Conv2d(24, 12, 3, 1, 1), nn.ReLU())
        self.head = nn.Linear(12, 5)

    def forward(self, batch: Tensor) -> Tensor:
        one = self.down1(batch)
        two = self.down2(one)
        three = self.down3(two)
        two = self.up2(torch.cat([functional.interpolate(three, scale_factor=2.0), two], dim=1))
        one = self.up1(torch.cat([functional.interpolate(two, scale_factor=2.0), one], dim=1))
        return self.head(one.mean(dim=(2, 3)))


def test_of_a_decoder_with_a_head_the_last_map_is_taken() -> None:
    module = zoo.redraw(UNet())
    (found,) = Explainer(module).explain(inputs(), targets=[1])
    assert found.layer == "up1"
    assert_near(found.heatmap, by_hand(module, "up1", inputs(), 1))


class Joined(nn.Module):
    """The last two stages, pooled and joined: the earlier one has all paths, and comes before a set."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU())
        self.three = nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 16, 3, 1, 1), nn.ReLU())
        self.four = nn.Sequential(nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU())
        self.head = nn.Linear(48, 5)

    def forward(self, batch: Tensor) -> Tensor:
        three = self.three(self.stem(batch))
        four = self.four(three)
        return self.head(torch.cat([three.mean(dim=(2, 3)), four.mean(dim=(2, 3))], dim=1))


def test_of_joined_stages_the_one_with_all_paths_is_taken() -> None:
    module = zoo.redraw(Joined())
    (found,) = Explainer(module).explain(inputs(), targets=[1])
    assert found.layer == "three"
    assert_near(found.heatmap, by_hand(module, "three", inputs(), 1))


class Neck(nn.Module):
    """Levels that feed one another, as in a detector; the score is the best cell of any level."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU())
        self.c3 = nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU())
        self.c4 = nn.Sequential(nn.Conv2d(16, 16, 3, 2, 1), nn.ReLU())
        self.p3 = nn.Sequential(nn.Conv2d(32, 16, 3, 1, 1), nn.ReLU())
        self.down = nn.Sequential(nn.Conv2d(16, 16, 3, 2, 1), nn.ReLU())
        self.p4 = nn.Sequential(nn.Conv2d(32, 16, 3, 1, 1), nn.ReLU())
        self.heads = nn.ModuleList(nn.Conv2d(16, 3, 1) for _ in range(2))

    def forward(self, batch: Tensor) -> Tensor:
        three = self.c3(self.stem(batch))
        four = self.c4(three)
        three = self.p3(torch.cat([functional.interpolate(four, scale_factor=2.0), three], dim=1))
        lower = self.p4(torch.cat([self.down(three), four], dim=1))
        levels = [head(one).flatten(2) for head, one in zip(self.heads, (three, lower), strict=True)]
        return torch.cat(levels, dim=2).logsumexp(dim=2)


def test_of_a_neck_the_last_layer_of_each_level_is_taken() -> None:
    (found,) = Explainer(zoo.redraw(Neck())).explain(inputs(), targets=[1])
    assert sorted(found.layer.split("+")) == ["p3", "p4"]


class OneOf(nn.Module):
    """Each class by a network of its own: half of the parts have nothing to say of a class."""

    def __init__(self) -> None:
        super().__init__()
        self.nets = nn.ModuleList(
            zoo.redraw(timm.create_model("resnet10t", num_classes=1), i) for i in range(2)
        )

    def forward(self, batch: Tensor) -> Tensor:
        return torch.cat([net(batch) for net in self.nets], dim=1)


def test_a_part_without_gradient_adds_nothing() -> None:
    module = OneOf()
    (found,) = Explainer(module).explain(inputs(), targets=[1])
    assert sorted(found.layer.split("+")) == ["nets.0.layer4", "nets.1.layer4"]
    assert_near(found.heatmap, by_hand(module, "nets.1.layer4", inputs(), 1))


# -- grids that no one stride makes -----------------------------------------------------------------------


def unpadded(pool: int = 1) -> nn.Module:
    """Five convolutions without padding, as steering networks have them."""
    convolutions = [
        nn.Conv2d(3, 8, 5, 2),
        nn.Conv2d(8, 12, 5, 2),
        nn.Conv2d(12, 16, 5, 2),
        nn.Conv2d(16, 16, 3),
    ]
    parts: list[nn.Module] = []
    for convolution in (*convolutions, nn.Conv2d(16, 16, 3)):
        parts += [convolution, nn.ReLU()]
    return nn.Sequential(
        nn.Sequential(*parts), nn.AdaptiveAvgPool2d(pool), nn.Flatten(), nn.Linear(16 * pool**2, 4)
    )


@pytest.mark.parametrize("size", [(66, 200), (70, 160), (120, 160), (96, 128), (240, 320)], ids=str)
def test_unpadded_convolutions_on_pictures_that_are_not_square(size: tuple[int, int]) -> None:
    module = zoo.redraw(unpadded())
    (found,) = Explainer(module).explain(inputs(*size), targets=[1])
    assert found.layer == "0"
    assert_near(found.heatmap, by_hand(module, "0", inputs(*size), 1))
    for name in ("0.6", "0.8", "0.9"):
        (named,) = Explainer(module).explain(inputs(*size), targets=[1], layers=[name])
        assert_near(named.heatmap, by_hand(module, name, inputs(*size), 1))


def test_strides_that_differ() -> None:
    module = zoo.redraw(
        nn.Sequential(
            nn.Sequential(
                nn.Conv2d(1, 8, 3, (1, 2), 1), nn.ReLU(), nn.MaxPool2d((1, 4)), nn.Conv2d(8, 16, 3), nn.ReLU()
            ),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4)),
        )
    )
    (found,) = Explainer(module).explain(inputs(40, 200, 1), targets=[1])
    assert found.layer == "0"
    assert_near(found.heatmap, by_hand(module, "0", inputs(40, 200, 1), 1))


class Resized(nn.Module):
    """Resizes whatever comes, as wrappers do."""

    def __init__(self, net: nn.Module, side: int) -> None:
        super().__init__()
        self.net, self.side = net, side

    def forward(self, batch: Tensor) -> Tensor:
        return self.net(functional.interpolate(batch, (self.side, self.side), mode="bilinear"))


@pytest.mark.parametrize("size", [(32, 32), (60, 80), (120, 90), (8, 8)], ids=str)
def test_a_wrapper_that_resizes_inside(size: tuple[int, int]) -> None:
    module = Resized(small(), 64)
    (found,) = Explainer(module).explain(inputs(*size), targets=[1])
    assert found.layer == "net.layer4"
    assert_near(found.heatmap, by_hand(module, "net.layer4", inputs(*size), 1))


class Padded(Resized):
    def forward(self, batch: Tensor) -> Tensor:
        missing = self.side - batch.shape[-2]
        return self.net(functional.pad(batch, (0, 0, missing // 2, missing - missing // 2)))


def test_a_wrapper_that_pads_inside() -> None:
    module = Padded(small(), 96)
    (found,) = Explainer(module).explain(inputs(64, 96), targets=[1])
    assert found.layer == "net.layer4"
    assert found.heatmap.shape == (3, 3)


# -- as many channels as outputs --------------------------------------------------------------------------


@pytest.mark.parametrize("outputs", [512, 500])
def test_as_many_outputs_as_channels_make_no_class_map(outputs: int) -> None:
    module = zoo.redraw(timm.create_model("resnet10t", num_classes=outputs))
    (found,) = Explainer(module).explain(inputs(), targets=[1])
    assert found.layer == "layer4"


@pytest.mark.parametrize("classes", [10, 16, 64])
def test_own_networks_with_as_many_classes_as_channels(classes: int) -> None:
    parts = [nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, classes, 3, 2, 1), nn.ReLU()]
    module = zoo.redraw(
        nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(classes, classes))
    )
    (found,) = Explainer(module).explain(inputs(), targets=[1])
    assert found.layer == "3"


@pytest.mark.parametrize("end", [[], [nn.Softmax(dim=1)], [nn.Sigmoid()]], ids=["plain", "softmax", "sigmoid"])
@pytest.mark.parametrize("pool", [nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d])
def test_a_map_of_class_scores_is_no_default(pool: type[nn.Module], end: list[nn.Module]) -> None:
    parts = [nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 12, 3, 2, 1), nn.ReLU(), nn.Conv2d(12, 5, 1)]
    module = zoo.redraw(nn.Sequential(*parts, pool(1), nn.Flatten(), *end))
    (found,) = Explainer(module).explain(inputs(), targets=[1])
    assert found.layer == "3"


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("resnet10t", "layer4"),
        ("convnext_atto", "stages"),
        ("regnety_002", "s4"),
        ("vit_tiny_patch16_224", "blocks.1.norm1"),
    ],
)
def test_a_backbone_without_a_head_is_looked_at_in_its_last_layer(name: str, layer: str) -> None:
    sizes = {"img_size": 64, "depth": 2} if name.startswith("vit") else {}
    module = zoo.redraw(timm.create_model(name, num_classes=0, **sizes))
    (found,) = Explainer(module).explain(inputs(), targets=[lambda embedding: embedding[:, 3]])
    assert found.layer == layer
    assert found.probability is None


def test_an_embedding_has_no_top_class() -> None:
    module = timm.create_model("resnet10t", num_classes=0)
    with pytest.raises(TargetError, match="embedding, which has no top class"):
        Explainer(module).explain(inputs())


# -- what is no layer to look at --------------------------------------------------------------------------


def test_a_pool_that_makes_more_positions_than_it_gets_is_none() -> None:
    """As VGG does on small pictures: 1×1 becomes 7×7 of one value."""
    with torch.device("meta"):
        module = torchvision.models.vgg11(num_classes=4)
    module.classifier = nn.Sequential(nn.Flatten(), nn.Linear(512 * 49, 4))  # its own has 100 million weights
    module = zoo.redraw(module.to_empty(device="cpu")).eval()
    (found,) = Explainer(module).explain(inputs(32, 32), targets=[1])
    assert found.layer != "avgpool"
    assert not zoo.is_flat(found.heatmap)
    (named,) = Explainer(module).explain(inputs(32, 32), targets=[1], layers=["avgpool"])
    assert "constant" in [one.code for one in named.health]


def test_a_matrix_of_attention_is_no_picture() -> None:
    module = timm.create_model("vit_tiny_patch16_224", img_size=64, depth=2, num_classes=4, attn_drop_rate=0.1)
    for block in module.blocks:
        block.attn.fused_attn = False
    with pytest.raises(LayerError, match=r"attn_drop.*fits no grid.*nearest layer that works is 'blocks\.1"):
        Explainer(module).explain(inputs(), layers=["blocks.1.attn.attn_drop"])


# -- what was found out before ----------------------------------------------------------------------------


def test_weights_that_have_changed_are_looked_at_again_before_a_refusal() -> None:
    module = small()
    with torch.no_grad():
        module.fc.weight.zero_()
    explainer = Explainer(module)
    for _ in range(2):
        with pytest.raises(LayerError):
            explainer.explain(inputs())
    zoo.redraw(module)
    (found,) = explainer.explain(inputs(), targets=[1])
    assert_near(found.heatmap, by_hand(module, "layer4", inputs(), 1))


def test_a_module_that_was_replaced_is_looked_at_anew() -> None:
    module = small()
    explainer = Explainer(module)
    explainer.explain(inputs())
    module.layer4 = nn.Sequential(nn.Conv2d(256, 512, 3, 2, 1), nn.ReLU())
    zoo.redraw(module)
    (found,) = explainer.explain(inputs(), targets=[1])
    assert_near(found.heatmap, by_hand(module, "layer4", inputs(), 1))


def test_findings_do_not_depend_on_what_was_asked_before() -> None:
    module = Ensemble(small(0), small(1))
    explainer = Explainer(module)
    (before,) = explainer.explain(inputs(), layers=["nets.1.layer4"], targets=[1])
    explainer.explain(inputs(), targets=[1])
    (after,) = explainer.explain(inputs(), layers=["nets.1.layer4"], targets=[1])
    assert [one.code for one in before.findings] == [one.code for one in after.findings] == []


def test_another_size_of_input_costs_one_more_forward() -> None:
    rows: list[int] = []
    module = small()
    module.register_forward_pre_hook(lambda _, args: rows.append(len(args[0])))
    explainer = Explainer(module)
    explainer.explain(inputs())
    assert sum(rows) <= 12
    for height, width in ((96, 64), (64, 128)):
        rows.clear()
        (found,) = explainer.explain(inputs(height, width), targets=[1])
        assert sum(rows) == 2
        assert found.heatmap.shape == (height // 32, width // 32)
