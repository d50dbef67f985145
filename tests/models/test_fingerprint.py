"""A digest of weights changes with the weights and with nothing else."""

from __future__ import annotations

from pathlib import Path

import torch

from genrlhf.models.fingerprint import model_fingerprint
from tests.helpers import save_model, tiny_llama


def test_same_weights_same_digest_and_a_trained_layer_another(tmp_path: Path) -> None:
    model = tiny_llama(hidden_size=64, num_hidden_layers=5)
    first = model_fingerprint(str(save_model(model, None, tmp_path / "first")))
    assert model_fingerprint(str(save_model(model, None, tmp_path / "copy"))) == first
    with torch.no_grad():
        for parameter in model.model.layers[-1].parameters():
            parameter += 1e-4
    assert model_fingerprint(str(save_model(model, None, tmp_path / "trained"))) != first


def test_a_name_on_the_hub_stands_for_itself() -> None:
    assert model_fingerprint("some/model") == "some/model"
