"""What all tests share."""

from itertools import count
from pathlib import Path

import pytest
import torch

# Two workers on two cores: more threads would only wait for each other.
torch.set_num_threads(1)

_caches = count()


@pytest.fixture(autouse=True)
def _cache_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Each test finds an empty cache, whatever others and the user's own runs have left in theirs."""
    base: Path = tmp_path_factory.getbasetemp()
    monkeypatch.setenv("CAMLUCIDA_CACHE", str(base / f"cache-{next(_caches)}"))
