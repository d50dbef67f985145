"""The lazily loaded names."""

from __future__ import annotations

import subprocess
import sys

import pytest

from genrlhf import metrics, types
from genrlhf.metrics import preference, solutions


@pytest.mark.parametrize("module", [metrics, preference, solutions])
def test_every_declared_name_is_there(module: object) -> None:
    for name in module.__all__:  # type: ignore[attr-defined]
        assert getattr(module, name).__name__ == name


def test_estimate_is_that_of_types() -> None:
    assert metrics.Estimate is types.Estimate


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'Nonsense'"):
        metrics.Nonsense  # noqa: B018
    with pytest.raises(AttributeError, match="'Nonsense'"):
        preference.Nonsense  # noqa: B018


def test_lexical_metrics_and_win_rates_load_nothing_heavy() -> None:
    heavy = "{'torch', 'transformers', 'datasets', 'sentence_transformers'}"
    code = (
        "import sys; from genrlhf.metrics import EAD, SentenceBERT, NLIDiversity, per_input_diversity as d; "
        "from genrlhf.metrics.preference import win_rate; "
        f"d([['a b']], EAD(tokenize=str.split)); print(sorted({heavy} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
