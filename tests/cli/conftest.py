"""What tests of several commands share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def read_only(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which nothing can be made."""
    if os.geteuid() == 0:
        return Path("/sys/kernel")
    folder = tmp_path_factory.mktemp("read_only")
    folder.chmod(0o555)
    return folder
