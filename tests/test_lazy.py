from __future__ import annotations

import sys
from pathlib import Path

import pytest

from genrlhf._lazy import attach


def test_names_come_from_their_homes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "lazy_package"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from genrlhf._lazy import attach\n\nown = 1\n__getattr__, __dir__ = attach(__name__, {'far': 'inner'})\n"
    )
    (package / "inner.py").write_text("far = 2\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import lazy_package  # type: ignore[import-not-found]

    assert "lazy_package.inner" not in sys.modules
    assert {"own", "far"} <= set(dir(lazy_package))
    assert (lazy_package.own, lazy_package.far) == (1, 2)
    with pytest.raises(AttributeError, match="module 'lazy_package' has no attribute 'nothing'"):
        lazy_package.nothing  # noqa: B018


def test_a_package_that_names_a_module_it_lacks_fails_on_use() -> None:
    load, _ = attach("genrlhf", {"x": "no_such_module"})
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        load("x")
