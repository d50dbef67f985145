"""What some tests need that no package brings; where it is missing they are skipped, and `conftest.py` counts them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

CHROMIUM, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))
DATA = Path(__file__).parents[2] / "shared" / "data"

BROWSER_WANTED = "a browser (chromium and chromium-driver)"
DATA_WANTED = "data (../shared/data)"


def data(*names: str) -> pytest.MarkDecorator:
    """Return the mark of tests that read these files of `DATA`."""
    missing = [name for name in names if not (DATA / name).is_file()]
    return pytest.mark.skipif(bool(missing), reason=f"needs {DATA_WANTED}")
