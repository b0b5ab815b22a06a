"""The independent judge of an automatic choice of layer (`cd tests; python -m truth.rows` checks every row)."""

import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase

import timm
import torch
import torchvision
from torch import Tensor, nn

from truth.layout import ROW_MAJOR, Layout, Truth
from truth.timm_maps import TIMM_MAPS
from truth.timm_stages import TIMM_STAGES
from truth.timm_tokens import TIMM_TOKENS
from truth.timm_vits import TIMM_VITS
from truth.torchvision_networks import TORCHVISION
from truth.toys import TOY_MODELS, TOYS

TRUTHS: list[Truth] = [*TIMM_MAPS, *TIMM_STAGES, *TIMM_VITS, *TIMM_TOKENS, *TORCHVISION, *TOYS]
BATCH = 2


def judge(
    truth: Truth,
    layer_name: str | None,
    kind: str = "",
    grid: tuple[int, int] = (0, 0),
    prefix: int = 0,
    order: str = ROW_MAJOR,
) -> str:
    """Say "right", "wrong: reason" or "unlisted".

    "unlisted": the layer is not one of those written down as a good choice, but its layout is the one it is
    written down with, or that of some known tensor of the last stage. A `layer_name` of None is a refusal.
    """
    if layer_name is None:
        return "right" if truth.refusable or not truth.positions else "wrong: refused, though it has positions"
    answer = Layout(kind, grid, prefix, order)
    reason = objection(truth, layer_name, answer)
    if reason:
        return f"wrong: {reason}"
    return "right" if layer_name in truth.layers else "unlisted"


def objection(truth: Truth, layer_name: str, answer: Layout) -> str:
    """What is wrong with this layer read in this way; empty if nothing is known against it."""
    if not truth.positions:
        return "the model has no positions"
    known = {**truth.layers, **truth.also}.get(layer_name)
    if known is not None:
        return "" if answer == known else f"{layer_name} is {known}, not {answer}"
    if any(fnmatchcase(layer_name, pattern) for pattern in truth.wrong):
        return f"{layer_name} must not be chosen"
    return "" if answer in truth.layout_elsewhere else f"nothing at the end of this model is {answer}"


def build(truth: Truth, seed: int = 0) -> nn.Module:
    """The row's model in eval mode, with random weights."""
    library, name = truth.model.split(":")
    torch.manual_seed(seed)
    if library == "timm":
        model = timm.create_model(name, pretrained=False, **truth.arguments)
    elif library == "torchvision":
        model = torchvision.models.get_model(name, weights=None, **truth.arguments)
    else:
        model = TOY_MODELS[name](**truth.arguments)
    assert isinstance(model, nn.Module)
    return model.eval()


def tensors(output: object) -> Iterator[Tensor]:
    """All tensors of a module's output, in tuples and dictionaries too."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, dict):
        yield from tensors(tuple(output.values()))
    elif isinstance(output, (tuple, list)):
        for item in output:
            yield from tensors(item)


def shapes(model: nn.Module, input_size: tuple[int, int, int]) -> dict[str, list[list[torch.Size]]]:
    """For every module by name, what each of its calls returned, during one forward."""
    calls: dict[str, list[list[torch.Size]]] = {}
    handles = [
        module.register_forward_hook(
            lambda _module, _inputs, output, name=name: calls.setdefault(name, []).append(
                [tensor.shape for tensor in tensors(output)]
            )
        )
        for name, module in model.named_modules()
    ]
    try:
        with torch.no_grad():
            model(torch.randn(BATCH, *input_size))
    finally:
        for handle in handles:
            handle.remove()
    return calls


def complaints(truth: Truth) -> list[str]:
    """What does not hold in a row: a layer that is missing, or runs twice, or has another shape."""
    model = build(truth)
    calls = shapes(model, truth.input_size)
    known = {**truth.layers, **truth.also}
    found = []
    for name, layout in known.items():
        outputs = calls.get(name, [])
        if len(outputs) != 1:
            found.append(f"{name} runs {len(outputs)} times")
        elif not any(layout.fits(shape, BATCH) for shape in outputs[0]):
            found.append(f"{name} returns {[tuple(shape) for shape in outputs[0]]}, not {layout}")
    names = {name for name, _ in model.named_modules()} - set(known)
    found.extend(
        f"no module is called {pattern}"
        for pattern in truth.wrong
        if not any(fnmatchcase(name, pattern) for name in names)
    )
    if truth.positions and not truth.layers:
        found.append("no layer is listed")
    return found


def check_all() -> int:
    """Check every row, print what does not hold, and return how many rows have a complaint."""
    torch.set_num_threads(1)
    bad = 0
    for truth in TRUTHS:
        try:
            found = complaints(truth)
        except Exception as error:  # noqa: BLE001 - a row that cannot run is a complaint, not the end
            found = [f"does not run: {error!r}"]
        bad += bool(found)
        for complaint in found:
            sys.stdout.write(f"{truth}: {complaint}\n")
    sys.stdout.write(f"{len(TRUTHS)} rows, {bad} with complaints\n")
    return bad


if __name__ == "__main__":
    sys.exit(bool(check_all()))
