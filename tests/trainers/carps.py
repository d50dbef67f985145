"""Small runs of CARP and CoOp CARP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datasets import Dataset

from genrlhf.trainers import CARPConfig, CARPTrainer, CoOpCARPConfig, CoOpCARPTrainer
from tests.helpers import tiny_bert, tiny_tokenizer
from tests.trainers.runs import QUIET

# Not Adam, which makes whole steps of gradients that are nothing but rounding.
FEW: dict[str, Any] = {
    **QUIET,
    "optim": "sgd",
    "learning_rate": 1e-2,
    "lr_scheduler_type": "constant",
    "lr_scheduler_kwargs": None,
    "max_steps": 2,
    "max_grad_norm": 0.0,
}


def pairs(n: int = 16) -> Dataset:
    """Passages of two styles, with critiques of their own."""
    return Dataset.from_list(
        [
            {
                "passage": ("ab" if k % 2 else "xy") * (1 + k % 3) + "q" * (k % 5),
                "critique": ("good" if k % 2 else "bad") + "!" * (k % 3),
                "label": "kind" if k % 2 else "rude",
                "distribution": [1.0 * (k % 2), 3.0],
            }
            for k in range(n)
        ]
    )


def carp(
    folder: Path, *, model: Any = None, rows: Dataset | None = None, peft_config: Any = None, **settings: Any
) -> CARPTrainer:
    """A trainer of two steps on eight pairs each."""
    given = {"per_device_train_batch_size": 8, "latent_size": 8, "disable_dropout": True, **FEW, **settings}
    return CARPTrainer(
        tiny_bert(num_hidden_layers=2) if model is None else model,
        CARPConfig(str(folder), **given),
        pairs() if rows is None else rows,
        processing_class=tiny_tokenizer() if not isinstance(model, str) else None,
        peft_config=peft_config,
    )


def saved_carp(folder: Path, **settings: Any) -> Path:
    """The folder of a CARP model."""
    carp(folder, save_strategy="steps", max_steps=1, **settings).train()
    return folder


def coop(folder: Path, model: Any, *, rows: Dataset | None = None, **settings: Any) -> CoOpCARPTrainer:
    """A trainer of two steps on eight passages each."""
    given = {"per_device_train_batch_size": 8, **FEW, "learning_rate": 1.0, **settings}
    return CoOpCARPTrainer(str(model), CoOpCARPConfig(str(folder), **given), pairs() if rows is None else rows)
