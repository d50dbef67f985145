"""A browser for the tests of pages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests import needs

if TYPE_CHECKING:
    from tests.metrics.preference.validating.labeller import Labeller


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Chromium; a module that uses it lets sockets through, over which its driver is spoken to."""
    if not (needs.CHROMIUM and needs.DRIVER):
        pytest.skip(f"needs {needs.BROWSER_WANTED}")
    from tests.metrics.preference.validating import labeller

    driver = labeller.open_browser(tmp_path_factory.mktemp("browser"))
    yield driver
    driver.quit()


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
