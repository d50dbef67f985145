"""Commands have OpenMP's threads sleep while they wait, unless the environment says otherwise."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from genrlhf.cli import threads
from genrlhf.cli.threads import allowed_processors, settle_threads

OURS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def settled(monkeypatch: pytest.MonkeyPatch, given: dict[str, str], allowed: int | None = None) -> dict[str, str]:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(threads, "allowed_processors", lambda: allowed)
    environment = dict(given)
    settle_threads(environment)
    return environment


@pytest.mark.parametrize(
    ("given", "added"),
    [
        ({}, {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "3"}),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, {"OMP_NUM_THREADS": "3"}),
        ({"GOMP_SPINCOUNT": "100"}, {"OMP_NUM_THREADS": "3"}),
        ({"KMP_BLOCKTIME": "200"}, {"OMP_NUM_THREADS": "3"}),
        ({"OMP_NUM_THREADS": "8"}, {"OMP_WAIT_POLICY": "PASSIVE"}),
        ({"MKL_NUM_THREADS": "8"}, {"OMP_WAIT_POLICY": "PASSIVE"}),
    ],
)
def test_what_the_environment_says_already_holds(
    given: dict[str, str], added: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert settled(monkeypatch, given, allowed=3) == {**given, **added}


def test_without_a_quota_the_number_is_left_to_the_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settled(monkeypatch, {}) == {"OMP_WAIT_POLICY": "PASSIVE"}


def test_nothing_is_set_once_torch_has_read_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", object())  # type: ignore[arg-type]
    environment: dict[str, str] = {}
    settle_threads(environment)
    assert environment == {}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "250000 100000\n"}, 3),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "6400000 100000\n"}, None),
        ({"cpu.max": "nonsense\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({}, None),
    ],
)
def test_a_quota_of_time_counts_as_processors(
    files: dict[str, str], expected: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="ascii")
    monkeypatch.setattr(threads, "CGROUPS", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)), raising=False)
    assert allowed_processors() == expected


def test_a_quota_beyond_the_processors_there_are_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpu.max").write_text("400000 100000\n", encoding="ascii")
    monkeypatch.setattr(threads, "CGROUPS", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1}, raising=False)
    assert allowed_processors() is None


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only GNU's OpenMP of Linux tells how it waits")
@pytest.mark.parametrize(("given", "expected"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")])
def test_a_command_settles_it_before_torch_is_loaded(given: dict[str, str], expected: str) -> None:
    """OpenMP itself says what it has read, when it is loaded behind a command's start."""
    code = (
        "import contextlib\nfrom genrlhf.cli.main import main\n"
        "with contextlib.suppress(SystemExit):\n    main(['--version'])\nimport torch"
    )
    environment = {name: value for name, value in os.environ.items() if name not in OURS}
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={**environment, **given, "OMP_DISPLAY_ENV": "TRUE"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"OMP_WAIT_POLICY = '{expected}'" in found.stderr


def test_importing_the_library_sets_nothing() -> None:
    code = "import os; before = dict(os.environ); import genrlhf, genrlhf.trainers; assert dict(os.environ) == before"
    environment = {name: value for name, value in os.environ.items() if name not in OURS}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
