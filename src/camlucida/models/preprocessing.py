"""The preprocessing that somebody gives, whichever library it is of."""

from __future__ import annotations

from typing import Any

from camlucida.models import torchvision as torchvision_models
from camlucida.models.adapter import Preprocess, preprocess_of
from camlucida.models.processor import is_processor, processed_by


def preprocessing(given: Any, channels: int = 3) -> Preprocess:
    """A torchvision Compose, what ``weights.transforms()`` returns, or an image processor, with its frame.

    Raises:
        OptionError: it is none of these.
    """
    if torchvision_models.is_preset(given):
        return preprocess_of(torchvision_models.steps_of(given), channels)
    if is_processor(given):
        return processed_by(given, channels)
    return preprocess_of(given, channels)
