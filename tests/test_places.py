"""Objects by where they are."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from genrlhf.errors import ConfigError
from genrlhf.places import load_place


def test_a_module_may_lie_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    (tmp_path / "lies_here.py").write_text("def judge(): return 1\n", encoding="utf-8")
    (tmp_path / "json.py").write_text("dumps = None\n", encoding="utf-8")
    assert load_place("lies_here:judge", "The judge")() == 1
    assert load_place("json:dumps", "What writes") is json.dumps
    with pytest.raises(ConfigError, match="The judge cannot be loaded: No module named 'lies_there'"):
        load_place("lies_there:judge", "The judge")
