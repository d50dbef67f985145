"""A browser for the tests of reports, and who reads one in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser import browser
from tests.studies.report.reader import Reader
from tests.studies.results_record import write_example

__all__ = ["browser"]


@pytest.fixture
def read(browser: Any, tmp_path: Path) -> Callable[..., Reader]:
    """Open the report of a folder, that of an example unless another is given."""

    def opened(folder: Path | None = None, **settings: Any) -> Reader:
        if folder is None:
            folder = tmp_path
            write_example(folder)
        return Reader(browser, folder, **settings)

    return opened
