"""Models that cannot be trained on what they draw are refused."""

from __future__ import annotations

from unittest.mock import patch

import pytest

from genrlhf.errors import ModelError
from genrlhf.sampling.comparable import _on, refuse_unless_comparable
from genrlhf.sampling.habits import reads_ahead
from tests.decoders.configs import DECODERS, NOT_IN_PPO, UNLIKE_ANY_SAMPLER, build, known


@pytest.mark.parametrize("name", map(known, DECODERS))
def test_what_is_trained_on_its_draws_has_their_probabilities(name: str) -> None:
    model = build(name)
    kind = repr(model.config.model_type)
    for own_draws, refused in ((True, NOT_IN_PPO), (False, UNLIKE_ANY_SAMPLER)):
        if name in refused:
            with pytest.raises(ModelError, match=kind):
                refuse_unless_comparable(model, own_draws=own_draws, device="cpu")
        else:
            refuse_unless_comparable(model, own_draws=own_draws, device="cpu")
    assert reads_ahead(model) == (name == "xlnet")


def test_a_model_is_tried_out_where_it_is_going_to_run() -> None:
    model, moves = build("bloom"), []
    with patch.object(model, "to", side_effect=lambda device: moves.append(str(device))):
        refuse_unless_comparable(model, own_draws=True, device="cpu")
        assert moves == []
        # Its code would run there: nothing but the move is asked for here.
        with _on(model, "meta"):
            assert moves == ["meta"]
        assert moves == ["meta", "cpu"]
        model.hf_device_map = {"": "cpu"}
        with _on(model, "meta"):
            assert len(moves) == 2
