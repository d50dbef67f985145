"""A sequence-classification model as a reward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm

from genrlhf.data.chat import TEMPLATE_COLUMNS, template_options
from genrlhf.models.score_heads import score_in_float32
from genrlhf.models.scoring import encode_pair, reads_at_eos
from genrlhf.models.shared_prompts import plan_scoring, score_behind_prompts, shares_prompts
from genrlhf.rewards.affine import Calibration, calibration_of, check_target, fit_calibration, set_calibration

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["ModelReward", "options_of", "score_texts"]

PROMPTS_SAVED = 8
"""Prompts that need not be computed again before texts are scored behind them, which takes more passes."""


class ModelReward:
    """The score that a reward model gives to a completion, times a gain, plus a bias.

    A decoder reads it at the EOS behind the completion, an encoder at its first token.

    Prompts and completions reach the model as text through its own tokenizer, so that it need not share the policy's.
    Gain and bias lie in the model's config; they are 1 and 0 until the model is calibrated.

    Args:
        model: a sequence-classification model with one label.
        tokenizer: its tokenizer, with a pad token other than EOS.
        batch_size: texts a forward pass.
        max_length: tokens a text; the prompt loses its start where there are more. None for no limit.
        device: where to run it; None leaves the model where it is.
    """

    name = "reward_model"

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        batch_size: int = 64,
        max_length: int | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        if device is not None:
            model.to(device)
        self.model = model.eval().requires_grad_(False)
        score_in_float32(self.model)
        self.tokenizer = tokenizer
        self.batch_size = batch_size
        self.max_length = max_length

    @property
    def gain(self) -> float:
        """What scores are multiplied by, above 0."""
        return calibration_of(self.model.config).gain

    @property
    def bias(self) -> float:
        """What is added to the product."""
        return calibration_of(self.model.config).bias

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float]:
        """Return gain · score + bias of every completion.

        Of further columns of the dataset, `tools` and `chat_template_kwargs` reach the chat template of the reward
        model, as they reach that of the policy.
        """
        gain, bias = calibration_of(self.model.config)
        return [gain * score + bias for score in self._scores(prompts, completions, columns)]

    def calibrate(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        *,
        mean: float = 0.0,
        std: float | None = None,
        **columns: Any,
    ) -> Calibration:
        """Choose gain and bias such that the rewards of these completions have this mean and deviation.

        A reward model learns differences only: its scores have no zero. Stiennon et al. 2020, "Learning to summarize
        from human feedback", section 3.4, set the mean of the reference summaries to 0, the default here. Ziegler et
        al. 2019, "Fine-Tuning Language Models from Human Preferences", section 2, set the mean to 0 and the deviation
        to 1, on samples of the language model.

        Gain and bias are written to the model's config, in place of those that are there; `model.save_pretrained`
        saves them.

        Args:
            prompts: text, or conversations.
            completions: as many demonstrations, or samples.
            mean: the mean of their rewards.
            std: the standard deviation of their rewards, dividing by their number; None leaves the gain at 1.
            columns: as in a call.

        Returns:
            The gain and bias chosen.

        Raises:
            ConfigError: for a mean or deviation that no rewards can have.
            DataError: where there are no completions, a score is not finite, or the scores have no deviation.
        """
        check_target(mean, std)
        calibration = fit_calibration(self._scores(prompts, completions, columns), mean=mean, std=std)
        set_calibration(self.model.config, calibration)
        return calibration

    def _scores(
        self, prompts: Sequence[Any], completions: Sequence[Any], columns: Mapping[str, Any] | None = None
    ) -> list[float]:
        return score_texts(
            self.model,
            self.tokenizer,
            prompts,
            completions,
            options=options_of(columns or {}, len(prompts)),
            batch_size=self.batch_size,
            max_length=self.max_length,
        )


def score_texts(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Any],
    completions: Sequence[Any],
    *,
    options: Sequence[Mapping[str, Any]] | None = None,
    batch_size: int,
    max_length: int | None,
    progress: bool = False,
) -> list[float]:
    """Return a model's score of every completion, before gain and bias; arguments as of `ModelReward`.

    What several completions of a prompt begin with is computed once, where the model's family is known to share it.

    `options` are arguments of the chat template, for every prompt; `progress` shows a bar.
    """
    options = options if options is not None else [{}] * len(prompts)
    close = reads_at_eos(model)
    # A text that comes several times, as samples do, is scored once.
    places: dict[tuple[int, ...], list[int]] = {}
    for i, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        ids = encode_pair(
            tokenizer, prompt, completion, max_length=max_length, options=options[i], close=close, where=f"row {i}"
        )
        places.setdefault(tuple(ids), []).append(i)
    pad = int(tokenizer.pad_token_id)
    named = [repr(prompts[rows[0]]) for rows in places.values()]
    share = close and len(named) - len(set(named)) >= PROMPTS_SAVED and shares_prompts(model, pad)
    batches = plan_scoring([list(ids) for ids in places], named, batch_size=batch_size, share=share)
    scores = [0.0] * len(prompts)
    rows_of = list(places.values())
    with tqdm(total=len(places), desc="scoring", disable=not progress) as bar:
        for batch in batches:
            texts = [place for group in batch for place in group.places]
            for place, value in zip(texts, score_behind_prompts(model, batch, pad).tolist(), strict=True):
                for row in rows_of[place]:
                    scores[row] = value
            bar.update(len(texts))
    return scores


def options_of(columns: Mapping[str, Sequence[Any]], count: int) -> list[dict[str, Any]]:
    """Return what the columns `tools` and `chat_template_kwargs` hand to the chat template of each of `count` rows."""
    there = [name for name in TEMPLATE_COLUMNS if name in columns]
    return [template_options({name: columns[name][row] for name in there}) for row in range(count)]
