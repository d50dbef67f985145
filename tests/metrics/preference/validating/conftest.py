"""A browser for the tests of pages, and who labels in it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser import browser

if TYPE_CHECKING:
    from tests.metrics.preference.validating.labeller import Labeller

__all__ = ["browser"]


@pytest.fixture
def labeller(browser: Any, tmp_path: Path) -> Labeller:
    """Who has opened a page of seven pairs for the first time."""
    from tests.metrics.preference.validating.labeller import Labeller, pairs

    found = Labeller(browser, tmp_path, pairs(7))
    if not found.part("shortcuts").is_selected():
        # All pages share this setting.
        browser.execute_script("localStorage.clear()")
        found.reopen(lambda: found.part("shortcuts").is_selected())
    return found
