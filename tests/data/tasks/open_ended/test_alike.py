"""Which answers are alike, by how they are written."""

from __future__ import annotations

import numpy as np
import torch

from genrlhf.data.tasks.open_ended.alike import answer_classes, letter_triples
from genrlhf.methods import DQO, Darling

PLACE = "genrlhf.data.tasks.open_ended.alike"
GROUP = [[" Ohio", " ohio.\nQ: Name", " Utah", ""]]


def test_spellings_of_an_answer_are_one_class_and_one_direction() -> None:
    assert answer_classes([*GROUP, []]) == [["ohio", "ohio", "utah", ""], []]
    counts = letter_triples(GROUP[0])
    assert (counts[0] == counts[1]).all() and counts[0].sum() == 4  # " oh", "ohi", "hio", "io "
    assert (np.linalg.norm(counts, axis=1) > 0).all()  # an empty text has a direction, too
    assert letter_triples([]).shape == (0, counts.shape[1])


def test_rewards_of_groups_take_them_by_name() -> None:
    rewards = torch.tensor([[1.0, 1.0, 1.0, 0.0]])
    found = Darling(classes=f"{PLACE}:answer_classes")(completions=GROUP, rewards=rewards)
    assert torch.allclose(found, torch.tensor([[2 / 3, 2 / 3, 1.0, 0.0]]))  # of three others two, two and three differ
    gains = DQO(0.3, f"{PLACE}:letter_triples", valid_at=1.0)(GROUP, rewards) - rewards
    # Two that are the same: log 3 − log 2 each; the third is at right angles to them, and what is wrong gets nothing.
    assert torch.allclose(gains, 0.3 * torch.tensor([[1.5, 1.5, 2.0, 1.0]]).log())
