"""What holds for every test: no hub, no telemetry, no network, and tiny models to work on."""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import gc
import itertools
import signal
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from pytest_socket import disable_socket

from tests import helpers, needs

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


# A busy machine must not fail a property.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


def pytest_configure() -> None:
    """Have SIGINT raise KeyboardInterrupt, and end child processes, also where the tests run in the background.

    A shell has it ignored for what it starts with `&` in a script, and what is ignored children inherit.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Keep what is imported out of garbage collections: a Trainer asks for them, and they took most of a small run."""
    gc.collect()
    gc.freeze()


ONCE = (
    *("cli/data/test_self_instruct.py", "cli/test_command_pages.py", "cli/test_documented_commands.py"),
    *(
        "cli/test_every_command.py",
        "cli/test_power.py",
        "cli/test_processes.py",
        "data/selfinstruct",
        "methods/test_pages.py",
    ),
    *("methods/test_toys.py", "metrics/preference/judging/test_bad_weather.py", "metrics/test_coverage.py"),
    *("sampling/test_store.py", "studies/test_running.py", "studies/test_side_by_side.py"),
    "trainers/ppo/test_prompt_to_update.py",
)
"""Tests that one set of versions is enough for, as for those in a browser: of options and texts, of toys that learn,
of kills between two files of ours."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a session run some cases of every test."""
    help = "cases of a parametrised test that are run, spread over all of them, but where it is marked every_case"
    parser.addoption("--cases", type=int, metavar="N", help=help)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what one set of versions is enough for, and leave out cases beyond `--cases`."""
    here = Path(__file__).parent
    for item in items:
        in_browser = "browser" in getattr(item, "fixturenames", ())
        if in_browser or item.path.relative_to(here).as_posix().startswith(ONCE):
            item.add_marker("once")
    limit: int | None = config.getoption("cases")
    if limit is None:
        return
    cases: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("every_case") is None:
            cases.setdefault(item.nodeid.partition("[")[0], []).append(item)
    left_out = {
        item
        for each in cases.values()
        for item in set(each) - {each[round(n * (len(each) - 1) / max(limit - 1, 1))] for n in range(limit)}
    }
    config.hook.pytest_deselected(items=list(left_out))
    items[:] = [item for item in items if item not in left_out]


_begun = itertools.count(1)


def pytest_runtest_logstart() -> None:
    """Keep out what has been imported since, and pytest's reports, too: between two tests there is little else."""
    if next(_begun) % 100 == 0:
        pytest_collection_finish()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Block the network, except where a test says that it runs a server of its own.

    Such a test is marked `allow_hosts(["127.0.0.1"])` or `enable_socket`, which pytest-socket then acts upon.
    """
    allowed = any(item.get_closest_marker(name) for name in ("allow_hosts", "enable_socket"))
    if not allowed and "socket_enabled" not in getattr(item, "fixturenames", ()):
        disable_socket(allow_unix_socket=True)


class NotTestedWarning(pytest.PytestWarning):
    """Says how many tests were skipped for want of what no package brings."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Warn of tests that were skipped for want of something: the run would look whole."""
    skipped = [str(report.longrepr[2]) for report in terminalreporter.getreports("skipped")]
    counts = {want: sum(want in reason for reason in skipped) for want in (needs.BROWSER_WANTED, needs.DATA_WANTED)}
    said = [f"{count} tests for want of {want}" for want, count in counts.items() if count]
    if said:
        warnings.warn(f"Skipped: {', '.join(said)}.", NotTestedWarning, stacklevel=1)


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level tokenizer with pad and EOS, that a test may change."""
    return helpers.tiny_tokenizer()


@pytest.fixture
def chat_tokenizer() -> PreTrainedTokenizerFast:
    """The same with a chat template."""
    return helpers.tiny_tokenizer(chat_template=True)


@pytest.fixture(scope="session")
def causal_lm_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny Llama and its tokenizer, to be read only."""
    folder = tmp_path_factory.mktemp("causal_lm")
    return helpers.save_model(helpers.tiny_llama(), helpers.tiny_tokenizer(), folder)


@pytest.fixture(scope="session")
def reward_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny reward model and its tokenizer, to be read only."""
    folder = tmp_path_factory.mktemp("reward_model")
    return helpers.save_model(helpers.tiny_reward_model(), helpers.tiny_tokenizer(), folder)
