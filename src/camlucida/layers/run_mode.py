"""How a model can be run while its layers are inspected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from camlucida.capture.model_errors import ORDINARY
from camlucida.errors import CamlucidaError, ModelError, is_out_of_memory, spoken

_LITTLE = 0.1  # of the picture's deviation


@dataclass(frozen=True)
class RunMode:
    """``own``: on the user's picture with a little noise, not on noise. ``single``: one picture at a time.

    ``recording``: with gradients recording from the input on, since something in its forward asks for them.
    """

    own: bool = False
    single: bool = False
    recording: bool = False


# In the order in which they are tried: what the model sees, how many at once, and whether it wants gradients.
RUN_MODES = tuple(
    RunMode(own, single, recording)
    for recording in (False, True)
    for single in (False, True)
    for own in (False, True)
)


class Refused(Exception):  # noqa: N818 - another manner is tried, and the last one is told as a ModelError
    """The model raised something of its own, or returned what is not finite: its ``kind``, and its words."""

    def __init__(self, kind: str, words: str) -> None:
        super().__init__(kind, words)
        self.kind, self.words = kind, words


def base_input(like: Tensor, noise: Tensor, run_mode: RunMode) -> Tensor:
    """What to show in place of ``noise`` (channels, height, width), of unit deviation: that, or the picture.

    The user's picture stays within its own range, since some models check that.
    """
    if not run_mode.own:
        return noise
    picture = like.detach().to(noise)
    return (picture + _LITTLE * picture.std() * noise).clamp(picture.min(), picture.max())


def run_model(module: nn.Module, inputs: Tensor, run_mode: RunMode) -> Any:
    """The borrowed model's output for inputs (batch, channels, height, width).

    Raises:
        Refused: what the model raises, in its own words.
    """
    try:
        with torch.set_grad_enabled(run_mode.recording or torch.is_grad_enabled()):
            if run_mode.recording and not inputs.requires_grad:
                inputs = inputs.detach().requires_grad_(True).clone()
            return module(inputs)
    except CamlucidaError:
        raise
    except ORDINARY as error:
        if is_out_of_memory(error):
            raise
        refused = Refused(type(error).__name__, str(error))
    raise refused


def refusal(module: nn.Module, like: Tensor, refused: Refused) -> ModelError:
    """The error for a model that can be run in no mode, with its own words for the user's picture alone."""
    size = "×".join(map(str, like.shape))
    beside = spoken("in a module of your own (`--model file.py:factory`)", "by Explainer(args=…, kwargs=…)")
    return ModelError(
        f"{type(module).__name__} raises {refused.kind} on an input of {size} ({refused.words}; camlucida ran "
        "it on noise and on the picture itself, several at once and alone): give it the size and channels that "
        f"it takes, and what it takes beside the picture {beside}; where the picture is not its first "
        "argument, wrap the model in a module whose forward takes the picture first"
    )
