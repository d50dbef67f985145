"""Chain of Hindsight: outputs behind words that say how good they are, so that one can ask for good ones."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from genrlhf.data.asking import Asking
from genrlhf.data.pairs import as_preference
from genrlhf.errors import DataError, excerpt
from genrlhf.methods.chain_of_hindsight_sampled import Hindsight
from genrlhf.methods.method import Method
from genrlhf.trainers.objective import Objective
from genrlhf.trainers.own_rows import VARIANTS, OwnRow, RowTokens
from genrlhf.trainers.sft_data import Encoded
from genrlhf.trainers.supervised_batch import SupervisedBatch

__all__ = ["METHOD", "ChainOfHindsight"]


@dataclass(frozen=True)
class ChainOfHindsight(Hindsight, Objective):
    """Minimise the cross-entropy of the outputs of chains such as "x, bad: n, good: p", never of prompt or feedback.

    Liu et al. 2023, "Chain of Hindsight Aligns Language Models with Feedback" (arXiv 2302.02676). Of a pair with p
    better than n, "x, good: p" or "x, bad: n", and for `chain_share` of the draws "x, bad: n, good: p" or "x, good: p,
    bad: n"; each epoch has another draw. EOS ends each output. Rows of `completion` and `label` are single outputs;
    rows of `text` are learnt whole: mean_outputs −ℓ + λ mean_texts −ℓ, where a token weighs by how many of its kind the
    training set has, a mean over the tokens of a step. Past tokens are hidden as `forgetful_mask` does.

    Their code has λ = 0.01, and hides none.
    """

    columns: ClassVar[tuple[str, ...]] = ("pretrain",)
    _weights = (1.0, 0.0)

    def reads(self, columns: list[str]) -> list[str]:
        """Return the columns that rows are made of."""
        kinds = (("chosen", "rejected"), ("completion", "label"), ("text",))
        there = [name for kind in kinds if set(kind) <= set(columns) for name in kind]
        there = there or list(kinds[0])
        return ["prompt", *there] if "prompt" in columns else there

    def check_columns(self, columns: list[str]) -> None:
        """Raise `DataError` where texts have a weight, and there are none."""
        if self.pretrain_weight > 0 and "text" not in columns:
            raise DataError(
                f"pretrain_weight is {self.pretrain_weight}, and the rows have no column 'text' to pretrain on, only "
                f"{', '.join(columns)}; add rows of text, or set it to 0."
            )

    def check(self, rows: Any) -> None:
        """Weigh the two means; raise `DataError` where one of them has nothing, or no weight."""
        labels = rows[VARIANTS[1]] if VARIANTS[1] in rows.column_names else [[line] for line in rows["labels"]]
        counts = [0.0, 0.0]
        for row, pretrain in zip(labels, rows["pretrain"], strict=True):
            counts[pretrain] += sum(token != -100 for line in row for token in line[1:]) / len(row)
        if (counts[1] > 0) != (self.pretrain_weight > 0) or not counts[0]:
            raise DataError(
                f"pretrain_weight is {self.pretrain_weight}, and the rows have {counts[0]:.0f} tokens of outputs, and "
                f"{counts[1]:.0f} of texts to pretrain on; give outputs, and texts where that is above 0 (paper: 1.5)."
            )
        weights = (sum(counts) / counts[0], self.pretrain_weight * sum(counts) / counts[1] if counts[1] else 0.0)
        object.__setattr__(self, "_weights", weights)

    def encode(self, row: Mapping[str, Any], tokens: RowTokens) -> OwnRow:
        """Return chains of a row, one for each draw."""
        if row.get("text") is not None:
            return OwnRow([tokens.whole(row["text"])] * tokens.draws, {"pretrain": True})
        dice = random.Random(tokens.where)
        return OwnRow([self._chain(row, tokens, dice) for _ in range(tokens.draws)], {"pretrain": False})

    def _chain(self, row: Mapping[str, Any], tokens: RowTokens, dice: random.Random) -> Encoded:
        good, bad = dice.choice(self.good), dice.choice(self.bad)
        if row.get("label") is not None:
            return _joined(row["prompt"], [(good if row["label"] else bad, row["completion"])], tokens)
        prompt, chosen, rejected = as_preference(row, where=tokens.where)
        if chosen == rejected:
            raise DataError(f"{tokens.where}: chosen and rejected are both {excerpt(chosen)}; drop the row.")
        outputs = [(good, chosen), (bad, rejected)]
        dice.shuffle(outputs)
        return _joined(prompt, outputs if dice.random() < self.chain_share else outputs[:1], tokens)

    def __call__(self, batch: SupervisedBatch) -> torch.Tensor:
        """Return the loss of every token, (N,)."""
        if self.hidden > 0 and batch.training:
            batch.hide_keys(self.hidden)
        losses = -batch.logprobs()
        pretrain = torch.tensor(batch.columns["pretrain"], device=losses.device)[batch.rows]
        for name, kind in (("outputs", ~pretrain), ("pretrain", pretrain)):
            if kind.any():
                batch.log(name, losses[kind])
        return losses * losses.new_tensor(self._weights)[pretrain.long()]


def _joined(prompt: Any, outputs: list[tuple[str, Any]], tokens: RowTokens) -> Encoded:
    """Return the tokens of a prompt and outputs, each behind its feedback and ended as a demonstration is."""
    (feedback, first), *others = outputs
    asked = Asking(after=feedback)(prompt)
    if isinstance(prompt, str):
        return tokens.chain(tokens(asked, first), *(tokens(said, output) for said, output in others))
    turns = [[{"role": "user", "content": said.strip()}, *output] for said, output in others]
    return tokens(asked, [*first, *(message for turn in turns for message in turn)])


METHOD = Method(
    name="chain_of_hindsight",
    label="Chain of Hindsight",
    paper="Liu et al. 2023, arXiv 2302.02676",
    loop="supervised",
    needs=("preferences",),
    recipe={"adam_beta2": 0.95},
    settings="genrlhf.methods.chain_of_hindsight:ChainOfHindsight",
)
