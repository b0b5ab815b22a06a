"""Warnings that point at the caller's own line."""

from __future__ import annotations

import sys
import warnings


def warn(text: str, category: type[Warning] = UserWarning) -> None:
    """Say it at the nearest line outside this library, since Python hides or merges those of libraries."""
    frame, level = sys._getframe(), 1
    while frame.f_back and str(frame.f_globals.get("__name__")).partition(".")[0] == "camlucida":
        frame, level = frame.f_back, level + 1
    warnings.warn(text, category, stacklevel=level)
