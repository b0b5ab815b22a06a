"""What models keep in their attributes: put back, or told, and the model is never left frozen."""

from __future__ import annotations

import random
from collections import UserDict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

import snapshot
from camlucida import Explainer
from camlucida.capture import copies
from camlucida.capture.borrow import borrowed
from camlucida.errors import ModelError

Pair = namedtuple("Pair", "first second")


@dataclass
class Meter:
    count: int = 0
    values: list[float] = field(default_factory=list)
    running: Tensor = field(default_factory=lambda: torch.zeros(2))

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("nobody compares meters")

    __hash__ = None  # type: ignore[assignment]


class Slotted:
    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


class Outer:
    def __init__(self) -> None:
        self.inner = Meter()


class Refusing(dict):  # type: ignore[type-arg]
    """Refuses changes but by its own method."""

    def __setitem__(self, key: object, value: object) -> None:
        raise TypeError("read only")

    __delitem__ = clear = pop = update = __setitem__  # type: ignore[assignment]

    def grow(self) -> None:
        dict.__setitem__(self, len(self), 1)


class Held(nn.Module):
    """A part that stands in a plain list, which no ``modules()`` sees."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.register_buffer("total", torch.zeros(1))


class Keeper(nn.Module):
    """A classifier that runs ``write`` on itself each time."""

    def __init__(self, write: Callable[[Any], object]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.head = nn.Linear(4, 3)
        self.register_buffer("bank", torch.zeros(2, 3))
        self.register_buffer("sparse", torch.eye(3).to_sparse())
        self.meter, self.slotted, self.outer = Meter(), Slotted(), Outer()
        self.array, self.bytes = np.zeros(3), bytearray(b"abc")
        self.pair = Pair(torch.zeros(2), [torch.zeros(2)])
        self.torch_draws = torch.Generator().manual_seed(1)
        self.numpy_draws = np.random.default_rng(1)
        self.python_draws = random.Random(1)
        self.parts = [Held().eval()]
        self.refusing = Refusing()
        self.user = UserDict(a=1)
        self.write = write

    def forward(self, inputs: Tensor) -> Tensor:
        self.write(self)
        return self.head(self.conv(inputs).mean((2, 3)))


def _double(module: Any) -> None:
    module.bank = module.bank.double()


def _set(module: Any) -> None:
    module.bank.set_(torch.ones(5))


WRITES: dict[str, Callable[[Any], object]] = {
    "a counter of a helper object": lambda m: setattr(m.meter, "count", m.meter.count + 1),
    "a list of a helper object": lambda m: m.meter.values.append(1.0),
    "a tensor of a helper object": lambda m: m.meter.running.add_(1),
    "a helper object in a helper object": lambda m: m.outer.inner.values.append(1.0),
    "a slot": lambda m: setattr(m.slotted, "count", 1),
    "a NumPy array": lambda m: m.array.__setitem__(0, 1),
    "a bytearray": lambda m: m.bytes.extend(b"d"),
    "a tensor in a named tuple": lambda m: m.pair.first.add_(1),
    "a list in a named tuple": lambda m: m.pair.second.append(1),
    "a generator of torch": lambda m: torch.rand(1, generator=m.torch_draws),
    "a generator of NumPy": lambda m: m.numpy_draws.random(),
    "a generator of Python": lambda m: m.python_draws.random(),
    "the random state of torch": lambda m: torch.rand(1),
    "the random state of NumPy": lambda m: np.random.rand(),  # noqa: NPY002 - as models do
    "the random state of Python": lambda m: random.random(),
    "a counter of a module in a list": lambda m: setattr(m.parts[0], "calls", 1),
    "the mode of a module in a list": lambda m: m.parts[0].train(),
    "a buffer of a module in a list": lambda m: m.parts[0].total.add_(1),
    "a buffer's size": lambda m: m.bank.resize_(4, 3),
    "a buffer by .data": lambda m: setattr(m.bank, "data", torch.ones(2, 3)),
    "a buffer's shape by .data": lambda m: setattr(m.bank, "data", torch.ones(7)),
    "a buffer's storage": _set,
    "a buffer's dtype": _double,
    "a buffer's dtype by .data": lambda m: setattr(m.bank, "data", m.bank.data.half()),
    "a sparse buffer": lambda m: setattr(m, "sparse", m.sparse * 2),
    "a dict that refuses changes": lambda m: m.refusing.grow(),
    "a UserDict": lambda m: m.user.update(b=1),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
def test_it_is_put_back(write: Callable[[Any], object]) -> None:
    module = Keeper(write)
    before = snapshot.take(module)
    write(module)
    assert snapshot.differences(before, snapshot.take(module)), "the test sees this kind of change"
    module = Keeper(write)
    before = snapshot.take(module)
    Explainer(module).explain(torch.randn(1, 3, 8, 8, generator=torch.Generator()), layers=["conv"])
    snapshot.assert_same(before, snapshot.take(module))


class Array:
    """A key whose == is no bool."""

    def __eq__(self, other: object) -> Any:
        return np.array([True, False])

    def __hash__(self) -> int:
        return 1


def _stepped(module: nn.Module) -> torch.optim.Optimizer:
    optimizer = torch.optim.Adam(module.parameters())
    for parameter in module.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return optimizer


# What no comparison of values, or of keys, can be made of.
ODD: dict[str, Callable[[nn.Module], object]] = {
    "a dict keyed by parameters": lambda m: {parameter: name for name, parameter in m.named_parameters()},
    "an optimizer's state": lambda m: _stepped(m).state,
    "an optimizer": _stepped,
    "a nested tensor": lambda m: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
    "a jagged tensor": lambda m: torch.nested.nested_tensor(
        [torch.ones(2), torch.ones(3)], layout=torch.jagged
    ),
    "an MKLDNN tensor": lambda m: torch.ones(2, 2).to_mkldnn(),
    "a quantised tensor": lambda m: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
    "a float8 tensor": lambda m: torch.ones(3).to(torch.float8_e4m3fn),
    "a tensor without values": lambda m: torch.ones(3, device="meta"),
    "NaN": lambda m: torch.full((3,), torch.nan),
    "keys whose == is an array": lambda m: {Array(): 1},
    "a read-only view of a dict": lambda m: MappingProxyType({"a": torch.ones(2)}),
    "an array of objects": lambda m: np.array([{"a": 1}, None], dtype=object),
    "a read-only array": lambda m: np.broadcast_to(np.ones(1), (3,)),
    "a lock": lambda m: __import__("threading").Lock(),
    "itself": lambda m: [m, {"me": m}],
}


@pytest.mark.parametrize("make", ODD.values(), ids=ODD.keys())
@pytest.mark.filterwarnings("ignore:.*(nested|quantiz|jagged).*:UserWarning")
@pytest.mark.filterwarnings("ignore:.*quantiz.*:DeprecationWarning")
def test_a_model_may_hold_anything_and_trains_on(make: Callable[[nn.Module], object]) -> None:
    module = Keeper(lambda m: m.meter.values.append(1.0))
    module.odd = make(module)
    module.train()
    Explainer(module).explain(torch.ones(1, 3, 8, 8), layers=["conv"])
    assert module.training
    assert all(parameter.requires_grad for parameter in module.parameters())
    assert not module.meter.values


class Breaking(dict):  # type: ignore[type-arg]
    """Cannot be read once it has changed."""

    broken = False

    def keys(self) -> Any:
        return super().keys()

    def __contains__(self, key: object) -> bool:
        if self.broken:
            raise RuntimeError("broken for good")
        return super().__contains__(key)


def test_what_cannot_be_put_back_is_told_once_all_else_is() -> None:
    def write(module: Any) -> None:
        module.meter.values.append(1.0)
        dict.__setitem__(module.broken, "b", 1)
        module.broken.broken = True

    module = Keeper(write)
    module.broken = Breaking(a=1)
    module.train()
    with pytest.raises(ModelError, match="cannot be put back.*RuntimeError: broken for good"):
        Explainer(module).explain(torch.ones(1, 3, 8, 8), layers=["conv"])
    assert module.training
    assert all(parameter.requires_grad for parameter in module.parameters())
    assert not module.meter.values
    assert not module.conv._forward_hooks


def test_lazy_layers_that_never_ran_are_refused_and_left_lazy() -> None:
    module = nn.Sequential(nn.LazyConv2d(4, 3), nn.Flatten(), nn.LazyLinear(2))
    with pytest.raises(ModelError, match="run the model once"):
        Explainer(module).explain(torch.ones(1, 3, 8, 8), layers=["0"])
    assert isinstance(module[0], nn.LazyConv2d)


def test_weights_that_were_parametrised_while_lent_are_not_cached_for_training() -> None:
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )
    parametrize.register_parametrization(module[0], "weight", nn.Tanh())
    with parametrize.cached():
        Explainer(module).explain(torch.ones(1, 3, 8, 8), layers=["0"])
        module(torch.ones(1, 3, 8, 8)).sum().backward()
    assert module[0].parametrizations.weight.original.grad is not None


class Bank(nn.Module):
    def __init__(self, write: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.head = nn.Linear(4, 3)
        self.register_buffer("bank", torch.zeros(copies.LARGE))
        self.write = write

    def forward(self, inputs: Tensor) -> Tensor:
        if self.write:
            self.bank += 1
        return self.head(self.conv(inputs).mean((2, 3)))


def test_a_large_tensor_that_is_only_read_is_copied_once(monkeypatch: pytest.MonkeyPatch) -> None:
    cloned: list[int] = []
    real = Tensor.clone

    def clone(tensor: Tensor, **named: Any) -> Tensor:
        cloned.append(tensor.nbytes)
        return real(tensor, **named)

    reads, writes = Bank(False), Bank(True)
    monkeypatch.setattr(Tensor, "clone", clone)
    counts = []
    for module in (reads, reads, writes, writes):
        cloned.clear()
        with borrowed(module):
            module(torch.ones(1, 3, 8, 8))
        counts.append(sum(size >= copies.LARGE for size in cloned))
    assert counts == [1, 0, 1, 1]
    assert not writes.bank.any()


def test_a_large_tensor_that_is_written_to_after_all_is_told() -> None:
    module = Bank(False)
    with borrowed(module):
        module(torch.ones(1, 3, 8, 8))
    module.write = True
    with pytest.raises(ModelError, match="cannot be put back"), borrowed(module):
        module(torch.ones(1, 3, 8, 8))
    module.bank.zero_()
    with borrowed(module):  # known for writing now
        module(torch.ones(1, 3, 8, 8))
    assert not module.bank.any()
