"""Completions of the model as it is now, and how diverse and how good they are."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from genrlhf.errors import ConfigError, RewardError, excerpt, printable
from genrlhf.integrations.callback.host import language_model, root_model
from genrlhf.integrations.callback.settings import DISTINCT_VALID, ENDED, LEVELS, REWARD, VALID, Settings
from genrlhf.integrations.callback.undisturbed import evaluating
from genrlhf.metrics.diversity.evaluation import OutputsRow, Undefined, evaluate_diversity
from genrlhf.metrics.estimate import mean_estimate
from genrlhf.models.gather import unsharded
from genrlhf.models.structure import context_length
from genrlhf.rewards import check_rewards
from genrlhf.rewards.checks import reward_name
from genrlhf.sampling import TransformersSampler
from genrlhf.sampling.decode import check_prompt_lengths
from genrlhf.types import Estimate

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, Trainer

    from genrlhf.data.asking import Asking
    from genrlhf.types import RewardFunction

__all__ = ["Measured", "check_prompts_fit", "draw", "measure"]

logger = logging.getLogger(__name__)

KEPT_COLUMNS = ("prompt", "reference", "dataset", "tools", "chat_template_kwargs")
"""What of a row goes into the file of outputs; its other columns are for reward and verifier."""

Record = dict[str, Any]


class Measured(dict[str, Estimate]):
    """Figures by their names, without the prefix that they are logged under."""


def check_prompts_fit(
    model: Any, tokenizer: PreTrainedTokenizerBase, settings: Settings, asking: Asking | None = None
) -> None:
    """Raise where a prompt leaves no room for its completions in the model's context.

    Raises:
        DataError: naming the row.
        ConfigError: where no prompt would.
    """
    context, new = context_length(model), settings.params.max_new_tokens
    if context is not None and context <= new:
        raise ConfigError(
            f"max_new_tokens={new} leaves no room for a prompt in the model's context of {context} tokens; lower it "
            "in params=SamplingParams(max_new_tokens=…)."
        )
    check_prompt_lengths(
        tokenizer,
        settings.prompts if asking is None else [asking(prompt) for prompt in settings.prompts],
        max_length=None if context is None else context - new,
        remedy="shorten or drop it, or lower max_new_tokens in params=SamplingParams(max_new_tokens=…)",
    )


@torch.no_grad()
def draw(
    trainer: Trainer, tokenizer: PreTrainedTokenizerBase, settings: Settings, asking: Asking | None = None
) -> list[Record]:
    """Return the completions of this process's share of the prompts.

    Every process must call it: a sharded model is put together meanwhile.

    Returns:
        Records of `row`, `outputs`, `ended` and, where a metric uses them, `logprobs`.
    """
    root, model = root_model(trainer), language_model(trainer)
    rows = range(trainer.accelerator.process_index, len(settings.rows), trainer.accelerator.num_processes)
    records = []
    with unsharded(root), evaluating(root), trainer.accelerator.autocast():
        sampler = TransformersSampler(model, tokenizer, batch_size=settings.batch_size, asking=asking)
        asked = [settings.prompts[row] for row in rows]
        for place, samples in sampler.stream(asked, settings.n, settings.params, settings.seed, rows=rows):
            record: Record = {"row": rows[place], "outputs": [sample.text for sample in samples]}
            record["ended"] = [sample.ended for sample in samples]
            if settings.params.logprobs:
                record["logprobs"] = [sample.logprobs for sample in samples]
            records.append(record)
    return records


def measure(
    records: Sequence[Record],
    settings: Settings,
    *,
    reward: RewardFunction | None,
    verifier: RewardFunction | None,
    told: set[str],
) -> tuple[list[Record], Measured]:
    """Return the rows of a file of outputs, in the order of the prompts, and the figures.

    Args:
        records: of all prompts, in any order.
        settings: what to measure.
        reward: scores completions; None for none.
        verifier: says which are valid; None for none.
        told: remarks on the texts that were made already, each of which is made once.
    """
    ordered = sorted(records, key=lambda record: record["row"])
    found = Measured()
    _diversity(found, ordered, settings, told)
    rows = [
        {**{name: row[name] for name in KEPT_COLUMNS if row.get(name) is not None}, **record}
        for row, record in zip(settings.rows, ordered, strict=True)
    ]
    if reward is not None:
        scores = _asked(reward, settings, ordered)
        found[REWARD] = mean_estimate([sum(each) / len(each) for each in scores])
        rows = [{**row, "rewards": each} for row, each in zip(rows, scores, strict=True)]
    if verifier is not None:
        verdicts = [_as_verdicts(each, verifier) for each in _asked(verifier, settings, ordered)]
        shares = [sum(each) / settings.n for each in verdicts]
        found[VALID] = mean_estimate(shares, bounds=(0.0, 1.0))
        distinct = [
            len({text.strip() for text, valid in zip(record["outputs"], each, strict=True) if valid}) / settings.n
            for record, each in zip(ordered, verdicts, strict=True)
        ]
        found[DISTINCT_VALID] = mean_estimate(distinct, bounds=(0.0, 1.0))
        rows = [{**row, "valid": each} for row, each in zip(rows, verdicts, strict=True)]
    ended = [sum(record["ended"]) / settings.n for record in ordered]
    found[ENDED] = mean_estimate(ended, bounds=(0.0, 1.0))
    return rows, found


def _diversity(found: Measured, records: Sequence[Record], settings: Settings, told: set[str]) -> None:
    outputs = [
        OutputsRow(f"prompts, row {each['row']}", None, each["outputs"], each.get("logprobs")) for each in records
    ]
    wanted = settings.figure_names()
    levels = [level for level in LEVELS if any(name.startswith(f"{level}/") for name in wanted)]
    if not levels:
        return
    evaluation = evaluate_diversity(outputs, settings.metrics, levels=levels)
    for level in levels:
        for name in settings.metrics:
            if f"{level}/{name}" in wanted:
                figure = evaluation.figure(level, name)
                if isinstance(figure, Undefined):
                    _tell(told, f"{level}/{name} is undefined: {figure.reason}")
                else:
                    found[f"{level}/{name}"] = figure
    for name, remarks in evaluation.remarks.items():
        for line, what in zip(remarks.lines(), remarks.counts, strict=True):
            _tell(told, f"{name}: {line}", key=f"{name}: {what}")


def _tell(told: set[str], message: str, key: str | None = None) -> None:
    if (key or message) not in told:
        told.add(key or message)
        logger.warning("Diversity, %s.", printable(message))


def _asked(function: RewardFunction, settings: Settings, records: Sequence[Record]) -> list[list[float]]:
    """Return what a reward or verifier says of the completions of every prompt."""
    n = settings.n
    rows = [settings.rows[record["row"]] for record in records for _ in range(n)]
    prompts = [row["prompt"] for row in rows]
    completions = [text for record in records for text in record["outputs"]]
    columns: dict[str, list[Any]] = {"ended": [ended for record in records for ended in record["ended"]]}
    columns |= {name: [row.get(name) for row in rows] for name in settings.columns}
    values = check_rewards(function(prompts, completions, **columns), prompts, completions, name=reward_name(function))
    return [values[i * n : (i + 1) * n] for i in range(len(records))]


def _as_verdicts(values: Sequence[float], verifier: RewardFunction) -> list[bool]:
    for value in values:
        if value not in (0.0, 1.0):
            raise RewardError(
                f"The verifier {reward_name(verifier)} returned {excerpt(value)}; it must return True or False (1 or "
                "0) for every completion. What scores them is a reward: reward=…."
            )
    return [bool(value) for value in values]
