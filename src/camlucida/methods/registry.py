"""The one list of methods: filled beside each function, read by the command line, docs and tests.

A method is a pure function of tensors. Its positional parameters name the fields of ``LayerCapture`` that
it needs; its keyword-only parameters, with their defaults, are its options.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypedDict, Unpack

from camlucida.registry import Paper, Registered, Registry, signature_of

Returns = Literal["contributions", "weights", "heatmap"]
Fusion = Literal["mean", "product"]
Scope = Literal["layer", "network"]
FIELDS = (  # of a LayerCapture
    *("activations", "gradients", "scores", "inputs", "score", "resume", "input_gradients"),
    *("bias_terms", "unplaced", "variant_gradients", "hessian_products"),
)
NO_PAPER = Paper("", 0, "", "")


@dataclass(frozen=True, repr=False)
class Method(Registered):
    """All that is known of a method.

    ``returns`` says whether the function gives contributions (batch, channels, positions …), which the
    shared reducer sums over channels; weights (batch, targets, channels) for all targets at once, by which
    the activations are multiplied to that end; or a heatmap (batch, positions …) of its own. ``signed`` says
    whether values below zero mean evidence against. ``scope`` is a layer, or the whole network, whose maps are
    of no layer. ``classless`` methods do not look at the class; ``control`` ones know nothing of the model.
    ``fusion`` is how the maps of several layers become one. ``target`` derives the target that the method
    explains from the one that it is given.
    """

    kind: ClassVar[str] = "method"
    returns: Returns = "contributions"
    signed: bool = True
    cost: str = ""
    fusion: Fusion = "mean"
    target: Callable[..., Any] | None = None
    scope: Scope = "layer"
    classless: bool = False
    control: bool = False

    def run(self, captured: Any, settings: Mapping[str, Any]) -> Any:
        """The function's result for the fields of a ``LayerCapture`` that it needs."""
        own = {name: settings[name] for name in signature_of(self.function)[1]}
        return self.function(*(getattr(captured, need) for need in self.needs), **own)

    def derive_target(self, target: Any, settings: Mapping[str, Any], activation: str = "auto") -> Any:
        """The target that the method explains when it is given ``target``.

        ``activation`` makes probabilities of the model's outputs, for a target that takes it.
        """
        if self.target is None:
            return target
        taken, options = signature_of(self.target)
        more = (activation,) if "activation" in taken else ()
        return self.target(target, *more, **{name: settings[name] for name in options})


class Facts(TypedDict, total=False):
    """What else a method says of itself, as the fields of ``Method``."""

    returns: Returns
    signed: bool
    cost: str
    fusion: Fusion
    target: Callable[..., Any]
    scope: Scope
    classless: bool
    control: bool


_METHODS: Registry[Method] = Registry(
    "method", "camlucida.methods", FIELDS, lambda one: (one.control, one.paper.year)
)
all_methods, get_method = _METHODS.all, _METHODS.get


def method_of(
    function: Callable[..., Any],
    name: str,
    family: str = "own",
    paper: Paper = NO_PAPER,
    **facts: Unpack[Facts],
) -> Method:
    """The function as a method, without registering it: its parameters say what it needs and its options."""
    needs, options = signature_of(function)
    if "target" in facts:
        options |= signature_of(facts["target"])[1]
    return Method(name, function, family, needs, options, paper, **facts)


def method(
    name: str, *, family: str = "own", paper: Paper = NO_PAPER, **facts: Unpack[Facts]
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register the decorated function as the method ``name``.

    Raises:
        ValueError: there is such a method already, or the function needs what a capture does not have.
    """

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        _METHODS.add(method_of(function, name, family, paper, **facts))
        return function

    return register
