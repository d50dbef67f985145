"""A discriminator of demonstrations and samples as a reward, which learns from every rollout."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import softplus

from genrlhf.errors import ConfigError, DataError, excerpt
from genrlhf.models.loading import load_for_reward_training, scorer_from
from genrlhf.models.score_heads import score_in_float32
from genrlhf.models.scoring import encode_pairs, reads_at_eos
from genrlhf.rewards.model_reward import score_texts

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["AdversarialReward"]

KINDS = ("pairwise", "pointwise")


@dataclass
class AdversarialReward:
    """What a discriminator D thinks of a completion y beside the demonstration y* of its prompt x.

    Ho & Ermon 2016, "Generative Adversarial Imitation Learning" (arXiv 1606.03476); for texts Wu et al. 2020
    (TextGAIL, arXiv 2004.13796). Pairwise, D minimises −log σ(D(x, y*) − D(x, y)), and the reward is
    D(x, y) − D(x, y*), cut to ± `clip`; pointwise, −log σ(D(x, y*)) − log σ(−D(x, y)), and the reward D(x, y), whose
    optimum is log p_data / p_π. A mean over pairs. D begins as the policy does, with a head of zeros in place of the
    LM head, so that the first rollout teaches nothing; a rollout is rewarded by D as it was before it learnt from it.

    Args:
        kind: "pairwise" or "pointwise".
        discriminator: a model that D begins as, by name or folder; None for the policy as it starts.
        clip: largest reward, above 0.
        discriminator_lr: learning rate of its AdamW.
        discriminator_steps: steps after every rollout.
        discriminator_warmup: further steps after the first one.
        discriminator_batch: pairs a step.
        buffer_size: newest pairs that are drawn from.
        label_smoothing: share of the loss with the labels exchanged, below 0.5.
        stop_accuracy: D does not learn from a rollout of which it tells more samples from their demonstrations: the
            rewards of a perfect one are flat.

    Raises:
        ConfigError: for a setting out of its range.
    """

    kind: str = field(default="pairwise", metadata={"help": "pairwise, beside the prompt's demonstration; pointwise."})
    discriminator: str | None = field(
        default=None, metadata={"help": "What the discriminator begins as; None: the policy as it starts."}
    )
    clip: float = field(default=2.0, metadata={"help": "Rewards are cut to ± this."})
    discriminator_lr: float = field(default=1e-5, metadata={"help": "Learning rate of the discriminator."})
    discriminator_steps: int = field(default=4, metadata={"help": "Its steps after every rollout."})
    discriminator_warmup: int = field(default=200, metadata={"help": "Its further steps after the first rollout."})
    discriminator_batch: int = field(default=16, metadata={"help": "Pairs of demonstration and sample a step."})
    buffer_size: int = field(default=128, metadata={"help": "The newest pairs, of which it draws those of a step."})
    label_smoothing: float = field(default=0.0, metadata={"help": "Share of its loss with the labels exchanged."})
    stop_accuracy: float = field(
        default=0.95, metadata={"help": "It does not learn from a rollout that it tells apart better than this."}
    )

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(f"kind is {self.kind!r}; it must be pairwise or pointwise.")
        for name in ("clip", "discriminator_lr", "discriminator_batch", "buffer_size"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be above 0.")
        for name in ("discriminator_steps", "discriminator_warmup"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be 0 or more.")
        if not 0 <= self.label_smoothing < 0.5:
            raise ConfigError(f"label_smoothing is {self.label_smoothing}; it must be 0 or more, and below 0.5.")
        if not 0.5 < self.stop_accuracy <= 1:
            raise ConfigError(f"stop_accuracy is {self.stop_accuracy}; it must be above 0.5, and at most 1.")
        self._pairs: deque[tuple[Any, Any, str]] = deque(maxlen=self.buffer_size)
        self._steps = 0
        self._figures: dict[str, float] = {}

    def prepare(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, args: Any, train_dataset: Dataset | None
    ) -> None:
        """Make the discriminator, and look at the demonstrations.

        Args:
            model: the policy as it starts.
            tokenizer: its tokenizer.
            args: the settings of the run.
            train_dataset: rows of `prompt` and `completion`.

        Raises:
            DataError: for rows without demonstrations, or one that is longer than samples can be: D would learn that.
            ModelError: for a policy whose family has no sequence classifier.
        """
        _check_demonstrations(train_dataset, tokenizer, args.max_new_tokens)
        if self.discriminator is None:
            self.model = scorer_from(model)
        else:
            trust = {"trust_remote_code": args.trust_remote_code}
            self.model = load_for_reward_training(self.discriminator, **trust).float()
        score_in_float32(self.model)
        self.tokenizer = tokenizer
        self.model.to(args.device).eval().requires_grad_(True)
        if self.model.config.pad_token_id is None:
            self.model.config.pad_token_id = tokenizer.pad_token_id
        self._optimizer = torch.optim.AdamW(self.model.parameters(), lr=self.discriminator_lr, weight_decay=0.0)

    def __call__(
        self, prompts: Sequence[Any], completions: Sequence[str], completion: Sequence[Any], **columns: Any
    ) -> list[float]:
        """Return the reward of each completion; `completion` are the demonstrations."""
        texts = [*completions, *completion] if self.kind == "pairwise" else list(completions)
        scores = self._scores([*prompts, *prompts][: len(texts)], texts)
        if self.kind == "pairwise":
            mine, others = scores.view(2, -1)
            scores = mine - others
        return scores.clamp(-self.clip, self.clip).tolist()

    def update(self, rollout: Any) -> None:
        """Learn to tell a rollout's completions, and those before it, from demonstrations."""
        fresh = list(zip(rollout.prompts, rollout.columns["completion"], rollout.completions, strict=True))
        prompts, real, fake = zip(*fresh, strict=True)
        scores = self._scores([*prompts, *prompts], [*real, *fake]).view(2, -1)
        accuracy = discriminator_accuracy(*scores, kind=self.kind)
        self._figures = {"discriminator_accuracy": accuracy}
        first = not self._pairs
        self._pairs.extend(fresh)
        if accuracy > self.stop_accuracy:
            return
        count = self.discriminator_steps + (self.discriminator_warmup if first else 0)
        losses = [self._step() for _ in range(count)]
        if losses:
            self._figures["discriminator_loss"] = sum(losses) / len(losses)

    def figures(self) -> Mapping[str, float]:
        """Return what came of the last `update`: the share of pairs told apart before it, and the mean loss."""
        return self._figures

    def _step(self) -> float:
        # Of its own, and the same in every process.
        generator = torch.Generator().manual_seed(self._steps)
        chosen = torch.randperm(len(self._pairs), generator=generator)[: self.discriminator_batch].tolist()
        self._steps += 1
        prompts, real, fake = zip(*(self._pairs[place] for place in chosen), strict=True)
        batch = encode_pairs(self.tokenizer, [*prompts, *prompts], [*real, *fake], close=reads_at_eos(self.model))
        batch = {name: tensor.to(self.model.device) for name, tensor in batch.items()}
        scores = self.model(**batch).logits.squeeze(-1).float().view(2, -1)
        loss = discriminator_loss(*scores, kind=self.kind, smoothing=self.label_smoothing).mean()
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        return float(loss.detach())

    def _scores(self, prompts: Sequence[Any], completions: Sequence[Any]) -> torch.Tensor:
        found = score_texts(self.model, self.tokenizer, prompts, completions, batch_size=64, max_length=None)
        return torch.tensor(found)

    def state_dict(self) -> dict[str, Any]:
        """Return what was learnt: weights, the optimizer's state, and the pairs."""
        return {
            "model": dict(self.model.state_dict()),
            "optimizer": self._optimizer.state_dict(),
            "pairs": [list(pair) for pair in self._pairs],
            "steps": self._steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._pairs = deque(map(tuple, state["pairs"]), maxlen=self.buffer_size)
        self._steps = state["steps"]


def discriminator_loss(
    real: torch.Tensor, fake: torch.Tensor, *, kind: str = "pairwise", smoothing: float = 0.0
) -> torch.Tensor:
    """Return the loss of every pair, (B,): see `AdversarialReward`.

    Args:
        real: D of demonstrations, (B,) float.
        fake: D of samples, (B,) float.
        kind: "pairwise" or "pointwise".
        smoothing: share of the loss with the labels exchanged.
    """

    def of(right: torch.Tensor, wrong: torch.Tensor) -> torch.Tensor:
        return softplus(wrong - right) if kind == "pairwise" else softplus(-right) + softplus(wrong)

    return (1 - smoothing) * of(real, fake) + smoothing * of(fake, real)


def discriminator_accuracy(real: torch.Tensor, fake: torch.Tensor, *, kind: str = "pairwise") -> float:
    """Return the share of pairs, or of texts, that D tells right; half of those that it has no opinion of."""
    told = [real - fake] if kind == "pairwise" else [real, -fake]
    return float((torch.cat(told).sign() + 1).mean() / 2)


def _check_demonstrations(dataset: Dataset | None, tokenizer: PreTrainedTokenizerBase, longest: int) -> None:
    if dataset is None:
        return
    if "completion" not in dataset.column_names:
        raise DataError(
            "train_dataset has no column 'completion': a discriminator learns from demonstrations, rows of prompt and "
            f"completion; there are {', '.join(dataset.column_names)}."
        )
    for row, text in enumerate(_texts(dataset["completion"])):
        if not text.strip():
            raise DataError(f"train_dataset, row {row}: the demonstration is empty; drop the row.")
        count = len(tokenizer(text, add_special_tokens=False)["input_ids"])
        if count >= longest:
            raise DataError(
                f"train_dataset, row {row}: the demonstration {excerpt(text, 60)} has {count} tokens and EOS, and "
                f"samples at most {longest}, so that the discriminator would learn length; raise max_new_tokens, or "
                "drop such rows."
            )


def _texts(completions: Sequence[Any]) -> Iterator[str]:
    for completion in completions:
        yield completion if isinstance(completion, str) else "".join(str(each.get("content")) for each in completion)
