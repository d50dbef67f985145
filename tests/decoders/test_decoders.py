"""Every decoder that transformers builds from a config is sampled, scored and trained as by itself, or refused.

`python -m tests.decoders` writes what is measured here to `docs/families.md`.
"""

from __future__ import annotations

import json

import pytest

from genrlhf.models.families import SHARED_PREFIX_FAMILIES, TRUNK_FAMILIES
from tests.decoders.__main__ import PAGE, RECORD, table
from tests.decoders.configs import DECODERS, NOT_IN_PPO, known
from tests.decoders.measure import Row, measure

UNEQUAL_SCORES = {"xlnet"}
"""Whose classification class of transformers reads the score of a right-padded text at its padding."""


@pytest.mark.every_case
@pytest.mark.parametrize("name", map(known, DECODERS))
def test_padding_caches_and_trunks_change_nothing(name: str) -> None:
    row = measure(name)
    assert row.greedy == 0
    assert row.logprobs < 1e-5
    if name in NOT_IN_PPO:
        assert row.refused is not None and repr(row.family) in row.refused
    else:
        assert row.refused is None
        assert row.ratio is not None and row.ratio < 2e-5
    assert row.shares_prefix == (row.family in SHARED_PREFIX_FAMILIES)
    if row.shares_trunk:
        assert row.trunk is not None and row.trunk < 1e-5
        assert row.trunk_gradient is not None and row.trunk_gradient < 1e-5
    if name not in UNEQUAL_SCORES:
        assert row.score is None or row.score < 1e-5
        assert row.values is None or row.values < 1e-5


def test_every_listed_family_is_measured() -> None:
    measured = {name.partition(":")[0] for name in DECODERS}
    assert len(measured) >= 50
    assert measured >= TRUNK_FAMILIES >= SHARED_PREFIX_FAMILIES


def test_the_page_says_what_the_list_says() -> None:
    rows = [Row(**row) for row in json.loads(RECORD.read_text(encoding="utf-8"))["rows"]]
    assert [row.decoder for row in rows] == list(DECODERS)
    assert all(row.shares_prefix == (row.family in SHARED_PREFIX_FAMILIES) for row in rows)
    assert all(row.shares_trunk == (row.family in TRUNK_FAMILIES) for row in rows)
    assert {row.decoder for row in rows if row.refused} == NOT_IN_PPO
    assert PAGE.read_text(encoding="utf-8").endswith(table(rows))
