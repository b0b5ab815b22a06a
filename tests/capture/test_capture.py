"""One forward and one backward catch the right tensors, in every trap that models and callers set."""

import gc
import math
import weakref
from collections.abc import Callable
from copy import deepcopy
from functools import cache, partial

import pytest
import torch
from torch import Tensor, nn
from torch.utils import checkpoint

import zoo
from camlucida.capture.capture import capturing
from camlucida.capture.captures import BatchCapture, OutputReaders
from camlucida.capture.layout import Layout
from camlucida.capture.logits import logits_of
from camlucida.errors import LayerError, ModelError
from camlucida.layers.inspector import LayerInspector
from camlucida.methods import registry
from camlucida.pipeline.explainer import Explainer
from camlucida.pipeline.explanation import Explanation
from camlucida.targets.base import ClassProbability, Contrast, PerPicture
from camlucida.targets.resolve import resolve

METHODS = [
    name for name in registry.all_methods() if name != "cam"
]  # which most of these layers are refused to
ILL_CONDITIONED = ["xgradcam", "ablationcam"]  # sums near zero; small differences of large scores
LAYERS = {
    "resnet": "layer4",
    "vit": "blocks.2.norm1",
    "swin": "layers.3.blocks.1.norm2",
    "convnext": "stages.3.blocks.0.norm",
    "convnext_channels_first": "stages.3.blocks.0.norm",
}
# An earlier layer of the same network, and one that runs beside the first or right behind it
ROWS = {
    "resnet": ["layer4", "layer3", "layer4.0.downsample", "layer4.0.bn1"],
    "vit": ["blocks.2.norm1", "blocks.0.norm2", "blocks.1", "blocks.1.mlp"],
    "swin": ["layers.3.blocks.1.norm2", "layers.2", "layers.3.blocks.0.norm1", "layers.3.blocks.0"],
    "convnext": ["stages.3.blocks.0.norm", "stages.2", "stages.3.blocks.0.conv_dw", "stages.3"],
    "convnext_channels_first": ["stages.3.blocks.0.norm", "stages.2", "stages.3.blocks.0.conv_dw", "stages.3"],
}


@cache
def model(family: str) -> nn.Module:
    return zoo.FAMILIES[family]()


def catch(
    module: nn.Module,
    layers: list[str],
    inputs: Tensor,
    targets: tuple[object, ...] = (1,),
    gradients: bool = True,
) -> BatchCapture:
    """BatchCapture as the Explainer asks for it."""
    known = LayerInspector(module, logits_of)
    verdicts = {name: known.verdict_of(name, inputs[0]) for name in layers}

    def layout(name: str, _tensor: Tensor) -> Layout:
        found = verdicts[name]
        assert found is not None
        return found.layout

    rows = [[resolve(target, None)] * len(inputs) for target in targets]
    needs = frozenset(("gradients",) if gradients else ())
    with capturing(module, inputs, layers, rows, OutputReaders(logits_of, layout), needs) as caught:
        return caught


def maps(module: nn.Module, layer: str, inputs: Tensor | None = None, **arguments: object) -> list[Tensor]:
    """Maps that show every activation and gradient: hirescam sums their products over channels."""
    settings = {"layers": [layer], "methods": ["hirescam", "eigencam"], "targets": [1], **arguments}
    found = Explainer(module).explain(zoo.noise(2) if inputs is None else inputs, **settings)
    assert not zoo.is_flat(found[0].heatmap)
    return [one.heatmap for one in found]


@cache
def expected(family: str) -> list[Tensor]:
    return maps(model(family), LAYERS[family])


def equal(found: list[Tensor], wanted: list[Tensor]) -> bool:
    return len(found) == len(wanted) and all(map(torch.equal, found, wanted))


def close(found: list[Tensor], wanted: list[Tensor], tolerance: float = 1e-5) -> bool:
    """Within ``tolerance`` of each map's largest value."""
    pairs = list(zip(found, wanted, strict=True))
    return all(float((a - b).abs().max()) <= tolerance * float(b.abs().max()) for a, b in pairs)


# Against a naive reference


def naive(module: nn.Module, layer: str, inputs: Tensor, index: int) -> tuple[Tensor, Tensor]:
    """Activations and gradients in the layer's own layout, all of the network recorded."""
    module = deepcopy(module).double().eval()
    kept: list[Tensor] = []

    def keep(_part: nn.Module, _args: object, output: Tensor) -> Tensor:
        kept.append(output)
        return output.clone()

    module.get_submodule(layer).register_forward_hook(keep)
    logits = module(inputs.double().requires_grad_())
    (gradients,) = torch.autograd.grad(logits[:, index].sum(), kept)
    return kept[0].detach(), gradients


def positions_last(family: str, tensor: Tensor) -> Tensor:
    """(batch, channels, height, width), told from the family and not from the shape."""
    if tensor.ndim == 3:  # row by row; the small ViT has a class token in front
        positions = tensor[:, 1:] if family == "vit" else tensor
        side = math.isqrt(positions.shape[1])
        return positions.mT.unflatten(2, (side, side))
    channels_last = family == "swin" or (family == "convnext" and tensor.shape[1] == tensor.shape[2])
    return tensor.movedim(3, 1) if channels_last else tensor


@pytest.mark.parametrize(
    ("family", "layer"),
    [
        *LAYERS.items(),
        ("resnet", "layer2.0.conv1"),
        ("vit", "blocks.0.attn.proj"),
        ("swin", "layers.2.blocks.0"),
        ("convnext", "stages.2.blocks.1.norm"),
        ("convnext_channels_first", "stages.1.blocks.0.norm"),
    ],
    ids=str,
)
def test_activations_and_gradients_are_those_of_a_naive_reference(family: str, layer: str) -> None:
    inputs = zoo.noise(2)
    activations, gradients = (positions_last(family, one) for one in naive(model(family), layer, inputs, 3))
    assert not zoo.is_flat(gradients)
    double = catch(deepcopy(model(family)).double(), [layer], inputs.double(), (3,)).captured[0][0]
    single = catch(model(family), [layer], inputs, (3,)).captured[0][0]
    assert double.activations.dtype == torch.float64
    assert double.gradients is not None
    assert single.gradients is not None
    assert close([double.activations, double.gradients], [activations, gradients], 1e-10)
    assert close([single.activations.double(), single.gradients.double()], [activations, gradients], 1e-4)


@pytest.mark.parametrize("gradients", [True, False], ids=["with gradients", "without"])
@pytest.mark.parametrize("family", zoo.FAMILIES)
def test_logits_are_the_plain_models_bit_for_bit(family: str, gradients: bool) -> None:
    inputs = zoo.noise(2)
    with torch.no_grad():
        plain = model(family)(inputs)
    caught = catch(model(family), [LAYERS[family]], inputs, gradients=gradients)
    assert torch.equal(caught.outputs, plain)
    assert torch.equal(caught.scores[0], plain[:, 1])
    assert not caught.outputs.requires_grad
    assert (caught.captured[0][0].gradients is None) is not gradients


@pytest.mark.parametrize("family", zoo.FAMILIES)
def test_layers_in_a_row_and_side_by_side_equal_separate_calls(family: str) -> None:
    inputs = zoo.noise(2)
    together = catch(model(family), ROWS[family], inputs).captured
    for layer, (found,) in zip(ROWS[family], together, strict=True):
        ((alone,),) = catch(model(family), [layer], inputs).captured
        assert torch.equal(found.activations, alone.activations)
        assert not zoo.is_flat(alone.gradients)
        assert close([found.gradients], [alone.gradients])


@pytest.mark.parametrize("family", zoo.FAMILIES)
def test_several_targets_equal_separate_calls(family: str) -> None:
    targets = [None, 0, 7, ClassProbability(2), Contrast(1, 5), lambda logits: logits.logsumexp(dim=1)]
    explainer = Explainer(model(family))
    pictures = zoo.noise(2)
    together = explainer.explain(pictures, ["hirescam"], targets)
    alone = [explainer.explain(pictures, ["hirescam"], [target]) for target in targets]
    assert close([one.heatmap for one in together], [row[i].heatmap for i in (0, 1) for row in alone])
    assert [one.score for one in together] == [row[i].score for i in (0, 1) for row in alone]
    assert not close([together[1].heatmap], [together[2].heatmap], 0.1)


def test_each_picture_has_its_own_target() -> None:
    explainer = Explainer(model("resnet"), batch_size=2)
    pictures, classes = zoo.noise(3), [4, 0, 9]
    rows = explainer.explain(pictures, ["hirescam"], [2, PerPicture(classes)])
    alone = [
        explainer.explain(picture, ["hirescam"], [target])[0]
        for picture, own in zip(pictures, classes, strict=True)
        for target in (2, own)
    ]
    assert [one.index for one in rows] == [2, 4, 2, 0, 2, 9]
    assert close([one.heatmap for one in rows], [one.heatmap for one in alone])


@pytest.mark.parametrize("family", zoo.FAMILIES)
def test_a_batch_equals_one_picture_at_a_time(family: str) -> None:
    explainer, pictures = Explainer(model(family)), zoo.noise(3)
    methods = [name for name in METHODS if name not in ILL_CONDITIONED]  # see below
    together = explainer.explain(pictures, methods)
    alone = [one for picture in pictures for one in explainer.explain(picture, methods)]
    for found, wanted in zip(together, alone, strict=True):
        assert close([found.heatmap], [wanted.heatmap]), found.provenance.method
        assert found.index == wanted.index


@pytest.mark.parametrize("method", ILL_CONDITIONED)
@pytest.mark.parametrize("family", zoo.FAMILIES)
def test_a_batch_equals_one_picture_at_a_time_in_float64(family: str, method: str) -> None:
    """xgradcam divides by sums that may all but cancel; ablationcam takes small differences."""
    explainer, pictures = Explainer(deepcopy(model(family)).double()), zoo.noise(3).double()
    together = explainer.explain(pictures, [method])
    alone = [explainer.explain(picture, [method])[0] for picture in pictures]
    assert close([one.heatmap for one in together], [one.heatmap for one in alone])


# Modes of the caller, and of the model's making


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
@pytest.mark.parametrize("family", zoo.FAMILIES)
def test_the_callers_mode_changes_nothing(family: str, mode: Callable) -> None:
    with mode():
        found = maps(model(family), LAYERS[family], zoo.noise(2))
    assert equal(found, expected(family))


@pytest.mark.parametrize("family", zoo.FAMILIES)
def test_a_model_made_under_inference_mode(family: str) -> None:
    with torch.inference_mode():
        module = zoo.FAMILIES[family]()
    assert all(parameter.is_inference() for parameter in module.parameters())
    assert equal(maps(module, LAYERS[family]), expected(family))
    assert all(parameter.is_inference() for parameter in module.parameters())


class Scaling(nn.Module):
    """Keeps what it multiplies with in plain attributes, where no list of parameters shows it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.head = nn.Linear(4, 3)
        self.scale = torch.full((4, 1, 1), 2.0)
        self.held = {"scales": [torch.full((4, 1, 1), 0.5)]}

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head((self.conv(inputs) * self.scale * self.held["scales"][0]).mean((2, 3)))


def test_a_plain_tensor_made_under_inference_mode() -> None:
    with torch.inference_mode():
        module = zoo.redraw(Scaling())
    kept = (module.scale, module.held["scales"][0])
    normal = zoo.redraw(Scaling())
    assert equal(maps(module, "conv"), maps(normal, "conv"))
    assert module.scale is kept[0]
    assert module.held["scales"][0] is kept[1]


def test_a_picture_with_a_graph_of_its_own_gets_no_gradients() -> None:
    source = zoo.noise(2).requires_grad_()
    found = maps(model("resnet"), "layer4", source * 1)
    assert equal(found, expected("resnet"))
    assert source.grad is None


# Models that switch gradients off, or run their parts twice


class Wrapped(nn.Module):
    """A backbone and how it is run."""

    def __init__(self, family: str, run: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.net = deepcopy(model(family))
        self.run = run

    def forward(self, inputs: Tensor) -> Tensor:
        return self.run(self.net, inputs)


@torch.no_grad()
def _all_without(net: nn.Module, inputs: Tensor) -> Tensor:
    return net(inputs)


def _backbone_without(net: nn.Module, inputs: Tensor) -> Tensor:
    with torch.no_grad():
        features = net.forward_features(inputs)
    return net.forward_head(features)


def _grad_mode_set_off(net: nn.Module, inputs: Tensor) -> Tensor:
    before = torch.is_grad_enabled()
    torch.set_grad_enabled(False)
    features = net.forward_features(inputs)
    torch.set_grad_enabled(before)
    return net.forward_head(features)


RUNS = [_all_without, _backbone_without, _grad_mode_set_off]


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.__name__.strip("_"))
@pytest.mark.parametrize("family", ["resnet", "convnext"])
def test_a_model_that_switches_gradients_off_inside(family: str, run: Callable) -> None:
    assert equal(maps(Wrapped(family, run), f"net.{LAYERS[family]}"), expected(family))


def _two_sections(net: nn.Module, inputs: Tensor) -> Tensor:
    with torch.no_grad():
        features = net.forward_features(inputs)
    with torch.no_grad():
        return net.forward_head(features)


@torch.inference_mode()
def _inference(net: nn.Module, inputs: Tensor) -> Tensor:
    return net(inputs)


@pytest.mark.parametrize("run", [_two_sections, _inference], ids=lambda run: run.__name__.strip("_"))
def test_where_gradients_cannot_be_had_the_layer_is_refused(run: Callable) -> None:
    with pytest.raises(LayerError, match="does not depend on"):
        maps(Wrapped("resnet", run), "net.layer4")


@pytest.mark.parametrize("family", zoo.FAMILIES)
def test_gradient_checkpointing_of_timm(family: str) -> None:
    module = deepcopy(model(family)).train()
    module.set_grad_checkpointing(True)
    assert any(getattr(part, "grad_checkpointing", False) for part in module.modules())
    assert equal(maps(module, LAYERS[family]), expected(family))
    assert any(getattr(part, "grad_checkpointing", False) for part in module.modules())


class Checkpointed(nn.Module):
    """Two blocks and a head, any of the three behind a checkpoint."""

    def __init__(self, parts: tuple[str, ...], reentrant: bool) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(4, 5, 3, padding=1), nn.ReLU())
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3))
        self.parts, self.reentrant = parts, reentrant

    def forward(self, tensor: Tensor) -> Tensor:
        for name in ("first", "second", "head"):
            part = getattr(self, name)
            if name in self.parts:
                tensor = checkpoint.checkpoint(part, tensor, use_reentrant=self.reentrant)
            else:
                tensor = part(tensor)
        return tensor


@pytest.mark.parametrize("reentrant", [True, False], ids=["reentrant", "non-reentrant"])
@pytest.mark.parametrize(
    "parts", [("first",), ("second",), ("second", "head"), ("first", "second", "head")], ids="+".join
)
def test_checkpoints_around_the_layer_and_behind_it(parts: tuple[str, ...], reentrant: bool) -> None:
    functions = dict(vars(checkpoint))
    plain = zoo.redraw(Checkpointed((), reentrant))
    module = Checkpointed(parts, reentrant).train()
    module.load_state_dict(plain.state_dict())
    assert equal(maps(module, "first.0"), maps(plain, "first.0"))
    assert dict(vars(checkpoint)) == functions


@pytest.mark.parametrize("reentrant", [True, False], ids=["reentrant", "non-reentrant"])
def test_checkpoints_are_real_again_afterwards(reentrant: bool) -> None:
    module = Checkpointed(("second",), reentrant)
    calls: list[int] = []
    module.second[0].register_forward_hook(lambda *_: calls.append(1))
    maps(module, "first")
    assert calls == [1] * 10  # looked at in two runs and by seven pictures, explained once
    calls.clear()
    module.train()(zoo.noise()).sum().backward()
    assert calls == [1, 1]  # once forward, once again in the backward pass
    assert all(parameter.grad is not None for parameter in module.parameters())


# Wrappers that hide a model from hooks


def _compile_wrapper(module: nn.Module) -> nn.Module:
    return torch.compile(module, backend="eager")


def _compile_call(module: nn.Module) -> nn.Module:
    module.compile(backend="eager")
    return module


def _compile_part_in_place(module: nn.Module) -> nn.Module:
    module.layer4.compile(backend="eager")
    return module


def _compile_part(module: nn.Module) -> nn.Module:
    module.layer4 = torch.compile(module.layer4, backend="eager")
    return module


def _compile_forward(module: nn.Module) -> nn.Module:
    module.forward = torch.compile(module.forward, backend="eager")
    return module


def _parallel(module: nn.Module) -> nn.Module:
    return nn.DataParallel(module)


def _parallel_of_compiled(module: nn.Module) -> nn.Module:
    return nn.DataParallel(torch.compile(module, backend="eager"))


WRAPPERS = [
    _compile_wrapper,
    _compile_call,
    _compile_part_in_place,
    _compile_part,
    _compile_forward,
    _parallel,
    _parallel_of_compiled,
]


@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
@pytest.mark.parametrize("wrap", WRAPPERS, ids=lambda wrap: wrap.__name__.strip("_"))
def test_wrappers_that_hide_a_model_from_hooks(wrap: Callable[[nn.Module], nn.Module], warm: bool) -> None:
    torch.compiler.reset()
    module = wrap(deepcopy(model("resnet")))
    if warm:  # compiled before there are hooks, so that they would never fire
        with torch.no_grad():
            module(zoo.noise(2))
    layer = "layer4._orig_mod.0.act2" if wrap is _compile_part else "layer4.0.act2"
    assert equal(maps(module, layer), expected("resnet"))


# Code behind the layer that rewrites what the layer returned


class InPlace(nn.Module):
    """A convolution, then ``behind`` on its output, then a head."""

    def __init__(self, behind: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.same = nn.Identity()
        self.other = nn.Conv2d(3, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(4, 3)
        self.behind = behind

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.behind(self, inputs).square().mean((2, 3)))


def _relu_behind(net: nn.Module, inputs: Tensor) -> Tensor:
    return net.relu(net.conv(inputs))


def _addition_behind(net: nn.Module, inputs: Tensor) -> Tensor:
    tensor = net.conv(inputs)
    tensor += net.other(inputs)
    return tensor


def _input_rewritten(net: nn.Module, inputs: Tensor) -> Tensor:
    """``same`` hands its input on, which is rewritten while its output is still used."""
    tensor = net.conv(inputs)
    handed = net.same(tensor)
    return handed * 2 + tensor.mul_(3)


def _view_rewritten(net: nn.Module, inputs: Tensor) -> Tensor:
    tensor = net.conv(inputs)
    tensor[:, :2] = 0
    return tensor


# what is behind, and the layers
REWRITES = {
    "relu": (_relu_behind, ["conv"]),
    "relu, itself a layer": (_relu_behind, ["relu"]),
    "relu, both": (_relu_behind, ["conv", "relu"]),
    "addition": (_addition_behind, ["conv"]),
    "addition, both sides": (_addition_behind, ["conv", "other"]),
    "identity whose input is rewritten": (_input_rewritten, ["same"]),
    "layer before it": (_input_rewritten, ["conv"]),
    "both": (_input_rewritten, ["conv", "same"]),
    "part of it": (_view_rewritten, ["conv"]),
}


def _by_hand(net: InPlace, layers: list[str], inputs: Tensor, index: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Activations and gradients written out, without hooks and without anything in place."""
    with torch.no_grad():
        conv, other = net.conv(inputs), net.other(inputs)
    positions = conv.shape[2] * conv.shape[3]
    weight = net.head.weight[index].detach().view(1, -1, 1, 1) / positions

    def slope(out: Tensor) -> Tensor:
        return 2 * out * weight

    if net.behind is _relu_behind:
        out = conv.clamp(min=0)
        return {"conv": (conv, slope(out) * (conv > 0)), "relu": (out, slope(out))}
    if net.behind is _addition_behind:
        out = conv + other
        return {"conv": (conv, slope(out)), "other": (other, slope(out))}
    if net.behind is _view_rewritten:
        live = torch.tensor([0.0, 0, 1, 1]).view(1, -1, 1, 1)
        return {"conv": (conv, slope(conv * live) * live)}
    # As a layer of its own, ``same`` hands on a tensor that the rewriting does not reach.
    out = 5 * conv
    return {"conv": (conv, 5 * slope(out)), "same": (conv, 2 * slope(out))}


@pytest.mark.parametrize(("behind", "layers"), REWRITES.values(), ids=REWRITES.keys())
def test_code_behind_the_layer_cannot_rewrite_what_was_caught(behind: Callable, layers: list[str]) -> None:
    net = zoo.redraw(InPlace(behind))
    inputs = zoo.noise(2)
    wanted = _by_hand(net, layers, inputs, 1)
    for layer, (found,) in zip(layers, catch(net, layers, inputs).captured, strict=True):
        assert torch.equal(found.activations, wanted[layer][0])
        assert close([found.gradients], [wanted[layer][1]])


def test_activations_before_an_in_place_relu_keep_their_negative_values() -> None:
    """grad-cam 1.5.7 stores them without a copy on the CPU, and shows what the ReLU made of them."""
    net = zoo.redraw(InPlace(_relu_behind))
    ((found,),) = catch(net, ["conv"], zoo.noise()).captured
    assert float(found.activations.min()) < 0


# Frozen parameters, their gradients, hooks on gradients, types of number


def test_frozen_parameters() -> None:
    module = deepcopy(model("vit")).requires_grad_(False)
    assert equal(maps(module, LAYERS["vit"]), expected("vit"))
    assert not any(parameter.requires_grad for parameter in module.parameters())


def test_gradients_of_the_user_are_not_touched() -> None:
    module = deepcopy(model("resnet"))
    module(zoo.noise()).sum().backward()
    before = [(parameter.grad, parameter.grad.clone()) for parameter in module.parameters()]
    maps(module, "layer4")
    for parameter, (same, values) in zip(module.parameters(), before, strict=True):
        assert parameter.grad is same
        assert torch.equal(parameter.grad, values)


@pytest.mark.parametrize("name", ["layer4", "global_pool", "fc"])
def test_hooks_on_gradients_do_not_see_the_explanation(name: str) -> None:
    """They belong to the user's training: one that scales gradients would scale the map."""
    module = deepcopy(model("resnet"))
    calls: list[int] = []
    part = module.get_submodule(name)
    part.register_full_backward_hook(lambda *_: calls.append(1))
    part.register_full_backward_pre_hook(lambda _part, gradients: tuple(2 * one for one in gradients))
    assert equal(maps(module, "layer4"), expected("resnet"))
    assert not calls
    module(zoo.noise()).sum().backward()
    assert calls == [1]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("family", zoo.FAMILIES)
def test_half_precision_gives_finite_float32_maps_close_to_float32(family: str, dtype: torch.dtype) -> None:
    module = deepcopy(model(family)).to(dtype)
    explainer, pictures = Explainer(module), zoo.noise()  # one: a CPU is slow with them
    layer = LAYERS[family]
    for found in explainer.explain(pictures, METHODS, [1], [layer]):
        assert found.heatmap.dtype == torch.float32
        assert bool(found.heatmap.isfinite().all()), found.provenance.method
    ((caught,),) = catch(module, [layer], pictures.to(dtype)).captured
    assert caught.activations.dtype == caught.gradients.dtype == torch.float32
    ((wanted,),) = catch(model(family), [layer], pictures).captured
    assert close([caught.activations, caught.gradients], [wanted.activations, wanted.gradients], 0.1)


@pytest.mark.parametrize("family", zoo.FAMILIES)
def test_double_precision_stays(family: str) -> None:
    module = deepcopy(model(family)).double()
    ((caught,),) = catch(module, [LAYERS[family]], zoo.noise(2).double()).captured
    assert caught.activations.dtype == caught.gradients.dtype == torch.float64
    assert close(maps(module, LAYERS[family]), expected(family), 1e-3)


# What is refused


class Odd(nn.Module):
    """Layers that do not do what a layer should."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.twice = nn.Conv2d(4, 4, 3, padding=1)
        self.never = nn.Conv2d(4, 4, 3, padding=1)
        self.aside = nn.Conv2d(4, 4, 3, padding=1)
        self.detached = nn.Conv2d(4, 4, 3, padding=1)
        self.one, self.two, self.some = Returns("one"), Returns("two"), Returns("some")
        self.head = nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        tensor = self.twice(self.twice(self.conv(inputs)))
        self.aside(tensor)
        tensor = tensor + self.detached(tensor).detach()
        (tensor,) = self.one(tensor)
        tensor, other = self.two(tensor)
        tensor = self.some(tensor + other)["values"]
        return self.head(tensor.mean((2, 3)))


class Returns(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, tensor: Tensor) -> object:
        return {
            "one": (2 * tensor,),
            "two": (tensor, 2 * tensor),
            "some": {"values": 2 * tensor, "size": 3, "index": torch.arange(3), "nothing": None},
        }[self.kind]


REFUSED = {
    "never": "never runs",
    "twice": "runs 2 times",
    "aside": "does not depend",
    "detached": "does not depend",
    "two": "returns 2 tensors",
    "head": "fits no grid",
    "con": "did you mean 'conv'",
}


@pytest.mark.parametrize(("layer", "message"), REFUSED.items(), ids=REFUSED.keys())
def test_a_layer_that_cannot_be_explained_is_refused(layer: str, message: str) -> None:
    with pytest.raises(LayerError, match=message):
        maps(zoo.redraw(Odd()), layer)


@pytest.mark.parametrize("layer", ["one", "some"])
def test_a_layer_that_returns_one_tensor_in_something_is_fine(layer: str) -> None:
    """Only numbers with a gradient count: indices, sizes and nothing at all are handed on as they are."""
    net, inputs = zoo.redraw(Odd()), zoo.noise(2)
    with torch.no_grad():
        plain = net(inputs)
    caught = catch(net, [layer], inputs)
    ((found,),) = caught.captured
    ((inner,),) = catch(net, ["conv"], inputs).captured
    weight = net.head.weight[1].detach().view(1, -1, 1, 1).expand_as(found.gradients)
    factor = 6 if layer == "one" else 1  # three times itself, then doubled
    assert torch.equal(caught.outputs, plain)
    assert found.activations.shape == inner.activations.shape
    assert close([found.gradients], [factor * weight / (zoo.SIZE * zoo.SIZE)])


def test_a_layer_off_the_path_is_fine_where_no_gradients_are_needed() -> None:
    found = Explainer(zoo.redraw(Odd())).explain(zoo.noise(), ["eigencam"], layers=["aside"])
    assert not zoo.is_flat(found[0].heatmap)


@pytest.mark.parametrize("layer", ["layers.0.blocks.0.attn", "layers.0.blocks.0.attn.qkv"])
def test_windows_are_not_taken_for_pictures(layer: str) -> None:
    """Swin's attention sees windows as a batch: (windows, tokens of one, channels)."""
    with pytest.raises(LayerError, match="fits no grid"):
        maps(model("swin"), layer)


@pytest.mark.parametrize("size", [1, 2, 8])
def test_nan_for_all_pictures_is_refused(size: int) -> None:
    module = deepcopy(model("resnet"))
    module.fc.bias.data[3] = torch.nan
    with pytest.raises(ModelError, match="NaN"):
        Explainer(module, batch_size=size).explain(zoo.noise(3), layers=["layer4"])


# Memory


@pytest.mark.parametrize("gradients", [True, False], ids=["with gradients", "without"])
@pytest.mark.parametrize("family", zoo.FAMILIES)
def test_nothing_of_the_run_is_kept_alive(family: str, gradients: bool) -> None:
    module = deepcopy(model(family))
    live_fraction: list[weakref.ref] = []

    def watch(_part: nn.Module, _args: object, output: Tensor) -> None:
        live_fraction.append(weakref.ref(output))

    for part in module.modules():
        part.register_forward_hook(watch)
    found = maps_kept(module, LAYERS[family], ["hirescam", "gradcam"] if gradients else ["eigencam"])
    gc.collect()
    assert len(live_fraction) > 10
    assert not [reference for reference in live_fraction if reference() is not None]
    assert not any(one.heatmap.requires_grad for one in found)


def maps_kept(module: nn.Module, layer: str, methods: list[str]) -> list[Explanation]:
    return Explainer(module).explain(zoo.noise(2), methods, layers=[layer])


def test_gradients_are_recorded_behind_the_layer_only() -> None:
    """What comes before the layer is as cheap as a plain forward."""
    module = deepcopy(model("resnet"))
    recorded: dict[str, bool] = {}

    def watch(name: str, _part: nn.Module, _args: object, output: Tensor) -> None:
        recorded[name] = output.requires_grad

    for name in ("layer2", "layer3", "global_pool", "fc"):
        module.get_submodule(name).register_forward_hook(partial(watch, name))
    maps(module, "layer3.0.act2")
    assert recorded == {"layer2": False, "layer3": True, "global_pool": True, "fc": True}
    maps(module, "layer3.0.act2", methods=["eigencam"])
    assert recorded == dict.fromkeys(recorded, False)


def test_a_picture_that_requires_grad_does_not_make_the_whole_network_record() -> None:
    module = deepcopy(model("resnet"))
    recorded: list[bool] = []
    module.layer2.register_forward_hook(lambda _part, _args, output: recorded.append(output.requires_grad))
    maps(module, "layer4", zoo.noise(2).requires_grad_(True))
    assert recorded[-1] is False  # before, the layers were looked at


def test_maps_made_inside_inference_mode_can_be_written_to_outside() -> None:
    with torch.inference_mode():
        (found, *_) = maps(deepcopy(model("resnet")), "layer4")
    assert not found.is_inference()
    found.add_(1)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")
def test_a_torchscript_part_in_training_mode_is_refused() -> None:
    module = deepcopy(model("resnet"))
    module.fc = nn.Sequential(torch.jit.script(nn.Dropout(0.9)), module.fc)
    module.train()
    with pytest.raises(ModelError, match=r"eval\(\)"):
        maps(module, "layer4")
    assert module.training
    maps(module.eval(), "layer4")
