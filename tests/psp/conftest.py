"""Fixtures of the PSP tests."""

from collections.abc import Iterator

import pytest

from app.core.settings import settings
from tests.support.simulator import account, simulator

__all__ = ["account", "simulator"]


@pytest.fixture
def short_deadline(monkeypatch: pytest.MonkeyPatch) -> Iterator[float]:
    """Provider calls end after a fraction of a second."""
    monkeypatch.setenv("COUNTINGHOUSE_PSP_TOTAL_SECONDS", "0.3")
    settings.cache_clear()
    yield 0.3
    monkeypatch.undo()
    settings.cache_clear()
