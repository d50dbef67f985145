"""A reward model read from the policy's trunk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from genrlhf.models.completions import classifier_scores
from genrlhf.models.scoring import encode_pair
from genrlhf.models.trunk import Trunk
from genrlhf.rewards import ModelReward, check_rewards
from genrlhf.rewards.model_reward import options_of
from genrlhf.types import TokenBatch, Tokens, TrunkStates

__all__ = ["TrunkReward"]


@dataclass(frozen=True)
class TrunkReward:
    """Scores completions with what the policy's trunk made of them when they were sampled.

    A reward model reads text through its own tokenizer. Where that gives the very tokens that were sampled, followed by
    EOS, its first layers need not run; other completions go through the whole model.

    Attributes:
        reward: a reward model whose trunk is the policy's.
        depth: layers of the trunk.
    """

    reward: ModelReward
    depth: int

    @torch.no_grad()
    def __call__(
        self,
        prompts: Sequence[Any],
        texts: Sequence[str],
        batch: TokenBatch,
        trunk: TrunkStates,
        columns: Mapping[str, Sequence[Any]],
    ) -> torch.Tensor:
        """Return the score of every completion, (B,) float32.

        Args:
            prompts: B prompts.
            texts: B completions.
            batch: both as token ids.
            trunk: what the trunk makes of them.
            columns: what else stands in the rows, B values each.
        """
        tokens, states = self._closed(batch, trunk)
        known = self._known(prompts, texts, tokens, columns)
        scores = torch.zeros(len(texts), device=tokens.prompt_ids.device)
        readable = known.nonzero().squeeze(-1)
        for start in range(0, len(readable), self.reward.batch_size):
            rows = readable[start : start + self.reward.batch_size]
            some = tokens.at(rows)
            lengths = some.completion_mask.sum(-1)
            read = classifier_scores(self.reward.model, some, trunk=Trunk(self.depth, states(rows)))
            scores[rows] = read.gather(1, lengths.unsqueeze(-1)).squeeze(-1) * self.reward.gain + self.reward.bias
        others = (~known).nonzero().squeeze(-1).tolist()
        if others:
            rest = {name: [values[i] for i in others] for name, values in columns.items()}
            values = self.reward([prompts[i] for i in others], [texts[i] for i in others], **rest)
            scores[others] = torch.tensor(values, device=scores.device)
        check_rewards(scores.tolist(), prompts, list(texts), name=self.reward.name)
        return scores

    def _closed(self, batch: TokenBatch, trunk: TrunkStates) -> tuple[Tokens, Any]:
        """Return ids and masks with an EOS behind what was closed, and what gives the trunk's states of some rows.

        What was cut off and not closed ends without EOS, as no text that a reward model reads does.
        """
        ids, mask, completion = batch.completion_ids, batch.completion_mask, trunk.completion
        if trunk.closing is not None:
            ids = torch.cat([ids, ids.new_full((len(ids), 1), self.reward.tokenizer.eos_token_id)], dim=1)
            mask = torch.cat([mask, trunk.closed.unsqueeze(-1)], dim=1)
            completion = torch.cat([completion, trunk.closing.unsqueeze(1)], dim=1)
        share = len(ids) // len(trunk.prompt)

        def states(rows: torch.Tensor) -> torch.Tensor:
            return torch.cat([trunk.prompt[rows // share], completion[rows]], dim=1)

        return Tokens(batch.prompt_ids, batch.prompt_mask, ids, mask), states

    def _known(
        self,
        prompts: Sequence[Any],
        texts: Sequence[str],
        tokens: Tokens,
        columns: Mapping[str, Sequence[Any]],
    ) -> torch.Tensor:
        """Return for which rows the reward model would read just these tokens, (B,) bool."""
        prompt_ids, prompt_mask, ids, mask = (tensor.cpu() for tensor in tokens)
        options = options_of(columns, len(prompts))
        same = [
            encode_pair(self.reward.tokenizer, prompt, text, max_length=self.reward.max_length, options=options[i])
            == prompt_ids[i][prompt_mask[i]].tolist() + ids[i][mask[i]].tolist()
            for i, (prompt, text) in enumerate(zip(prompts, texts, strict=True))
        ]
        return torch.tensor(same, device=tokens.prompt_ids.device)
