"""The user's module comes back exactly as it was, whatever happened to it meanwhile."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from functools import cache, partial

import pytest
import torch
from torch import Tensor, nn
from torch.utils import checkpoint

import snapshot
import zoo
from camlucida.errors import CamlucidaError, LayerError, ModelError
from camlucida.methods import registry
from camlucida.pipeline.explainer import Explainer

METHODS = list(registry.all_methods())
MODELS = {**zoo.FAMILIES, "levit": zoo.levit}
HEADS = {
    "resnet": "fc",
    "vit": "head",
    "swin": "head.fc",
    "convnext": "head.fc",
    "convnext_channels_first": "head.fc",
    "levit": "head",
}
PATIENCE = 20  # seconds until a thread that should have come is given up


class Stop(Exception):  # noqa: N818 - the user's own, no error of ours
    """Raised by the user's code in the middle of an explanation."""


def lived(module: nn.Module) -> nn.Module:
    """A module in use: mixed modes, frozen parts, gradients, hooks, a forward of its own on one part."""
    generator = torch.Generator().manual_seed(5)
    for i, part in enumerate(module.modules()):
        part.training = i % 3 == 0
    for i, parameter in enumerate(module.parameters()):
        parameter.requires_grad_(i % 2 == 0)
        if i % 3 == 0:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
    parts = list(module.modules())
    parts[2].register_forward_hook(lambda part, args, output: None)
    parts[2].register_forward_pre_hook(lambda part, args: None)
    parts[3].register_forward_hook(lambda part, args, kwargs, output: None, with_kwargs=True, always_call=True)
    parts[-1].register_full_backward_hook(lambda part, incoming, outgoing: None)
    parts[4].forward = partial(type(parts[4]).forward, parts[4])
    module.findings = {"seen": [1, 2], "bias": torch.ones(2)}
    return module


@cache
def model(family: str) -> nn.Module:
    return lived(MODELS[family]())


def explain(module: nn.Module, methods: list[str], **arguments: object) -> list[Tensor]:
    # levit has no default layer, and takes 224 pixels only
    levit = type(module).__name__.startswith("Levit")
    layers = ["stem"] if levit else [None]
    settings = {"layers": layers, **arguments}
    pictures = zoo.noise(1, 224, 224) if levit else zoo.noise(2)
    return [one.heatmap for one in Explainer(module).explain(pictures, methods, **settings)]


@contextmanager
def unchanged(module: nn.Module) -> Iterator[None]:
    """Also when the block raises."""
    before = snapshot.take(module)
    try:
        yield
    finally:
        snapshot.assert_same(before, snapshot.take(module))


# What an explanation leaves behind


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", ["resnet", "vit"])
def test_every_method_gives_the_model_back_as_it_was(family: str, method: str) -> None:
    module = model(family)
    refused = method == "cam" and family == "vit"  # no mean over positions follows that layer
    with unchanged(module), pytest.raises(LayerError) if refused else nullcontext():
        explain(module, [method])


@pytest.mark.parametrize("family", MODELS)
def test_all_methods_together_give_the_model_back_as_it_was(family: str) -> None:
    module = model(family)
    with unchanged(module):
        explain(module, [method for method in METHODS if method != "cam"])


@pytest.mark.parametrize("family", MODELS)
def test_a_model_in_use_is_explained_as_if_it_were_in_evaluation_mode(family: str) -> None:
    in_use, fresh = explain(model(family), ["hirescam"]), explain(MODELS[family](), ["hirescam"])
    assert not zoo.is_flat(fresh[0])
    assert all(map(torch.equal, in_use, fresh))


def test_tracing_gives_the_model_back_as_it_was() -> None:
    module = model("resnet")
    with unchanged(module):
        assert Explainer(module).inspector.all(zoo.noise()[0])


@pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad, torch.inference_mode])
def test_the_grad_mode_of_the_caller_is_kept(mode: Callable[[], object]) -> None:
    with mode(), unchanged(model("vit")):
        explain(model("vit"), ["gradcam"])


def test_autocast_of_the_caller_is_kept_and_training_goes_on_inside_it() -> None:
    """Autocast caches the weights that it casts: made without gradients, they must not be found there later."""
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with unchanged(module):
            explain(module, ["gradcam"], layers=["0"])
        module(zoo.noise()).float().sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())


# The same with an exception inside


class BackwardStops(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, tensor: Tensor) -> Tensor:
        return tensor.clone()

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        raise Stop


def stop(*_: object) -> None:
    raise Stop


def _behind_the_layer(module: nn.Module, head: str) -> dict[str, object]:
    module.get_submodule(head).forward = stop
    return {}


def _in_a_hook(module: nn.Module, head: str) -> dict[str, object]:
    module.get_submodule(head).register_forward_hook(stop)
    return {}


def _in_the_target(module: nn.Module, head: str) -> dict[str, object]:
    return {"targets": [stop]}


def _in_the_backward_pass(module: nn.Module, head: str) -> dict[str, object]:
    return {"targets": [lambda logits: BackwardStops.apply(logits)[:, 0]]}


def _wrong_output(module: nn.Module, head: str) -> dict[str, object]:
    forward = module.forward
    module.forward = lambda inputs: (forward(inputs), forward(inputs))
    return {}


def _class_that_is_not_there(module: nn.Module, head: str) -> dict[str, object]:
    return {"targets": [10]}


FAILURES = [
    _behind_the_layer,
    _in_a_hook,
    _in_the_target,
    _in_the_backward_pass,
    _wrong_output,
    _class_that_is_not_there,
]


@pytest.mark.parametrize("fail", FAILURES, ids=lambda fail: fail.__name__.strip("_"))
@pytest.mark.parametrize("family", MODELS)
def test_an_exception_inside_gives_the_model_back_as_it_was(family: str, fail: Callable) -> None:
    module = deepcopy(model(family))
    arguments = fail(module, HEADS[family])
    with unchanged(module), pytest.raises((Stop, CamlucidaError)):
        explain(module, ["gradcam"], **arguments)


@pytest.mark.parametrize("method", METHODS)
def test_an_exception_inside_any_method_gives_the_model_back_as_it_was(method: str) -> None:
    module = deepcopy(model("resnet"))
    module.fc.forward = stop
    with unchanged(module), pytest.raises(Stop):
        explain(module, [method], layers=["layer4"])


# What a model writes to itself while it runs


@pytest.mark.parametrize("filled", [False, True], ids=["empty", "filled"])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_levit_keeps_its_cache_and_can_be_trained_afterwards(mode: Callable, filled: bool) -> None:
    module = zoo.levit()
    if filled:
        with torch.no_grad():
            module(zoo.noise(1, 224, 224))
    caches = [part.attention_bias_cache for part in module.modules() if hasattr(part, "attention_bias_cache")]
    assert caches
    assert all(bool(cache) is filled for cache in caches)
    with unchanged(module), mode():
        explain(module, ["gradcam"])
    if not filled:  # evaluation with gradients is where an inference tensor left behind would be met
        module(zoo.noise(1, 224, 224)).sum().backward()
    module.train()
    module(zoo.noise(2, 224, 224)).sum().backward()
    assert all(p.grad is not None for name, p in module.named_parameters() if "head" not in name)


class Writer(nn.Module):
    """A classifier that runs ``write`` on itself each time."""

    def __init__(self, write: Callable[[nn.Module], object]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.head = nn.Linear(4, 3)
        self.register_buffer("count", torch.zeros(2))
        self.log = [1]
        self.state = torch.zeros(2)
        self.nested = {"deep": [torch.zeros(2), {"deeper": torch.zeros(2)}], "set": {1}}
        self.recent = deque([1], maxlen=2)
        self.mode = "plain"
        self.write = write

    def forward(self, inputs: Tensor) -> Tensor:
        self.write(self)
        return self.head(self.conv(inputs).mean((2, 3)))


def _replace_buffer(module: nn.Module) -> None:
    module.count = module.count + 1


def _reorder(module: nn.Module) -> None:
    module.nested["deep"] = module.nested.pop("deep")


WRITES: dict[str, Callable[[nn.Module], object]] = {
    "appends to a list": lambda m: m.log.append(2),
    "replaces in a list": lambda m: m.log.__setitem__(0, 2),
    "appends to a deque": lambda m: m.recent.append(2),
    "adds to a set": lambda m: m.nested["set"].add(2),
    "adds to a dict": lambda m: m.nested.update(new=1),
    "empties a dict": lambda m: m.nested.clear(),
    "reorders a dict": _reorder,
    "writes a tensor in place": lambda m: m.state.add_(1),
    "writes a tensor through .data": lambda m: m.state.data.add_(1),
    "writes a nested tensor in place": lambda m: m.nested["deep"][1]["deeper"].add_(1),
    "replaces a tensor": lambda m: setattr(m, "state", m.state + 1),
    "replaces a value": lambda m: setattr(m, "mode", "ran"),
    "changes a buffer in place": lambda m: m.count.add_(1),
    "changes a buffer through .data": lambda m: m.count.data.add_(1),
    "replaces a buffer": _replace_buffer,
    "registers a buffer": lambda m: m.register_buffer("extra", torch.zeros(1)),
    "adds an attribute": lambda m: setattr(m, "extra", torch.zeros(1)),
    "adds a module": lambda m: m.add_module("extra", nn.Identity()),
    "removes an attribute": lambda m: m.__dict__.pop("mode", None),
    "registers a hook": lambda m: m.conv.register_forward_hook(lambda *_: None),
    "sets a forward": lambda m: setattr(m.conv, "forward", partial(nn.Conv2d.forward, m.conv)),
    "changes its mode": lambda m: m.train(),
    "freezes nothing": lambda m: m.requires_grad_(True),
    "sets a gradient": lambda m: setattr(m.conv.weight, "grad", torch.ones_like(m.conv.weight)),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
def test_what_a_model_writes_to_itself_is_put_back(write: Callable[[nn.Module], object]) -> None:
    module = Writer(write)
    with unchanged(module):
        explain(module, ["gradcam"], layers=["conv"])


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
def test_what_a_model_writes_is_put_back_after_an_exception(write: Callable[[nn.Module], object]) -> None:
    module = Writer(write)
    with unchanged(module), pytest.raises(Stop):
        explain(module, ["gradcam"], layers=["conv"], targets=[stop])


def test_a_model_that_writes_to_its_parameters_is_reported() -> None:
    module = Writer(lambda m: m.conv.weight.detach().mul_(2))
    with pytest.raises(ModelError, match="own parameters"):
        explain(module, ["gradcam"], layers=["conv"])


class Rewriting(nn.Module):
    """Normalises its input in place, as some do."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.head = nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.conv(inputs.sub_(0.5).div_(0.5)).mean((2, 3)))


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.inference_mode])
def test_a_model_that_rewrites_its_input_spares_the_picture(mode: Callable) -> None:
    module = zoo.redraw(Rewriting())
    picture = zoo.noise()[0]
    kept = picture.clone()
    with mode():
        found = Explainer(module).explain(picture)[0].score
    assert torch.equal(picture, kept)
    with torch.no_grad():
        assert found == pytest.approx(float(module(kept[None].clone()).max()))


# The snapshot sees each kind of change, so that the tests above can fail


def _swap_values(module: nn.Module) -> None:
    module.conv.weight = nn.Parameter(module.conv.weight.detach().clone())


CHANGES: dict[str, Callable[[nn.Module], object]] = {
    **{name: write for name, write in WRITES.items() if name not in ("freezes nothing", "changes its mode")},
    "mode": lambda m: m.conv.eval(),
    "flag": lambda m: m.conv.weight.requires_grad_(False),
    "gradient in place": lambda m: m.head.weight.grad.add_(1),
    "gradient replaced": lambda m: setattr(m.head.weight, "grad", m.head.weight.grad.clone()),
    "gradient dropped": lambda m: setattr(m.head.weight, "grad", None),
    "weight in place": lambda m: m.conv.weight.data.add_(1),
    "weight replaced by an equal one": _swap_values,
    "equal tensor": lambda m: setattr(m, "state", m.state.clone()),
    "equal list": lambda m: setattr(m, "log", list(m.log)),
    "backward hook": lambda m: m.head.register_full_backward_hook(lambda *_: None),
    "compiled": lambda m: m.compile(backend="eager"),
    "grad mode": lambda m: torch.set_grad_enabled(False),
    "random state": lambda m: torch.rand(1),
    "checkpoint": lambda m: setattr(checkpoint, "CheckpointFunction", object()),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_the_snapshot_sees(change: Callable[[nn.Module], object], monkeypatch: pytest.MonkeyPatch) -> None:
    module = Writer(lambda m: None)
    module.head.weight.grad = torch.ones(3, 4)
    monkeypatch.setattr(checkpoint, "CheckpointFunction", checkpoint.CheckpointFunction)  # undone at the end
    before = snapshot.take(module)
    snapshot.assert_same(before, snapshot.take(module))
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        change(module)
        after = snapshot.take(module)
    with pytest.raises(AssertionError, match="not as it was"):
        snapshot.assert_same(before, after)


# Threads


class Gate(nn.Module):
    """Calls ``passed`` whenever something comes through."""

    def __init__(self) -> None:
        super().__init__()
        self.passed: Callable[[], None] = lambda: None

    def forward(self, inputs: Tensor) -> Tensor:
        self.passed()
        return inputs


def gated() -> tuple[nn.Module, Gate]:
    """A network with a gate between its layer ``0`` and its head."""
    gate = Gate()
    layers = [nn.Conv2d(3, 4, 3), gate, nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return zoo.redraw(nn.Sequential(*layers, nn.Dropout(0.5), nn.Linear(4, 3))).train(), gate


def run_together(*jobs: Callable[[], None]) -> None:
    """Each job in a thread of its own; the first error is raised here."""
    errors: list[BaseException] = []

    def safely(job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as error:  # noqa: BLE001 - handed to the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=safely, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads)
    if errors:
        raise errors[0]


def test_two_threads_explain_one_model_as_one_after_the_other() -> None:
    module, gate = gated()
    pictures = [zoo.noise(seed=seed) for seed in (1, 2)]
    alone = [Explainer(module).explain(picture, layers=["0"])[0].heatmap for picture in pictures]
    inside, most, both = [0], [0], threading.Event()

    def passed() -> None:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        if inside[0] > 1:
            both.set()
        both.wait(0.2)  # a second explanation, were it let in, would come now
        inside[0] -= 1

    gate.passed = passed
    found: dict[int, Tensor] = {}

    def job(index: int) -> None:
        found[index] = Explainer(module).explain(pictures[index], layers=["0"])[0].heatmap

    with unchanged(module):
        run_together(partial(job, 0), partial(job, 1))
    assert most == [1]
    assert all(torch.equal(alone[index], found[index]) for index in (0, 1))


def test_another_thread_runs_the_model_plainly_meanwhile() -> None:
    module, gate = gated()
    mine, other = zoo.noise(seed=1), zoo.noise(seed=2)
    expected = Explainer(module).explain(mine, layers=["0"])[0]
    with torch.no_grad():
        plain = module.eval()(other)
    module.train()
    started, done = threading.Event(), threading.Event()
    seen: list[tuple[bool, bool]] = []
    explaining = threading.get_ident()

    def passed() -> None:
        if threading.get_ident() == explaining:
            started.set()
            assert done.wait(PATIENCE)

    def watch(_part: nn.Module, _args: object, output: Tensor) -> None:
        if threading.get_ident() != explaining:
            seen.append((output.requires_grad, torch.is_grad_enabled()))

    gate.passed = passed
    gate.register_forward_hook(watch)
    outputs: list[Tensor] = []

    def run_plainly() -> None:
        assert started.wait(PATIENCE)
        with torch.no_grad():
            outputs.append(module(other))
        done.set()

    thread = threading.Thread(target=run_plainly)
    thread.start()
    with unchanged(module):
        try:
            found = Explainer(module).explain(mine, layers=["0"])[0]
        finally:
            done.set()
            thread.join(PATIENCE)
    assert torch.equal(outputs[0], plain)
    assert not outputs[0].requires_grad
    assert seen == [(False, False)]
    assert torch.equal(found.heatmap, expected.heatmap)


def test_checkpoints_stay_real_in_other_threads_meanwhile() -> None:
    """Elsewhere somebody trains another model, whose checkpointed part must run again in the backward pass."""
    module, gate = gated()
    calls: list[int] = []
    weight = torch.ones(3, requires_grad=True)

    def block(values: Tensor) -> Tensor:
        calls.append(1)
        return values.exp()

    def train() -> None:
        for reentrant in (True, False):
            checkpoint.checkpoint(block, weight, use_reentrant=reentrant).sum().backward()

    gate.passed = partial(run_together, train)
    with unchanged(module):
        Explainer(module).explain(zoo.noise(), layers=["0"])
    runs = 10  # the layers are looked at in two and by seven pictures, and one is explained
    assert len(calls) == 4 * runs
    assert torch.allclose(weight.grad, 2 * runs * weight.detach().exp())
