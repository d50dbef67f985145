"""Stages that measure what a model has forgotten of what the model it comes from knew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from genrlhf.data.schema import check_columns
from genrlhf.data.sources import read_split
from genrlhf.errors import ConfigError, DataError, excerpt
from genrlhf.metrics.token_loss import Forgetting, forgetting
from genrlhf.models.completions import completion_logits
from genrlhf.models.structure import context_length
from genrlhf.studies.stages.measure import prompt_text
from genrlhf.types import Tokens

if TYPE_CHECKING:
    from genrlhf.data import Task
    from genrlhf.sampling import TransformersSampler

__all__ = ["forgetting_figures", "measured_forgetting", "read_texts", "texts_of"]

_NUMBERS_AT_ONCE = 2**26
"""Logits of either model that are held at a time: 256 MiB."""

_AT_MOST = 8


def texts_of(given: str, task: Task | None, limit: int) -> list[str]:
    """Return the texts that a recipe names.

    Args:
        given: "demonstrations", those of the task that are held out; an evaluation set of the task, prompts with their
            references; or a file, see `read_texts`.
        task: the task, where there is one.
        limit: the first so many.

    Raises:
        ConfigError: the task has no such rows.
        DataError: a file that cannot be read.
    """
    if task is not None and given == "demonstrations":
        rows = task.validation.get("demonstrations")
        if rows is None or not len(rows):
            raise ConfigError(f"forgetting: the task {task.name!r} holds no demonstrations out; name a file of texts.")
        return [_joined(row["prompt"], row["completion"]) for row in rows.select(range(min(limit, len(rows))))]
    if task is not None and given in task.evaluation:
        rows = task.evaluation[given]
        check_columns(rows.column_names, ["reference"], source=f"the evaluation set {given!r} of {task.name}")
        return [_joined(row["prompt"], row["reference"]) for row in rows.select(range(min(limit, len(rows))))]
    return read_texts(given, limit)


def read_texts(source: str, limit: int) -> list[str]:
    """Return the first texts of a file.

    Args:
        source: of a .txt what empty lines separate; else rows of `text`, or of a `prompt` and what follows it
            (`completion`, `reference` or `output`).
        limit: so many.

    Raises:
        DataError: a file that is missing or cannot be read, has other columns or no texts.
    """
    if source.lower().endswith(".txt"):
        try:
            content = Path(source).expanduser().read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{source} cannot be read ({error}); give a text file in UTF-8.") from error
        found = [part.strip("\n") for part in content.replace("\r\n", "\n").split("\n\n")]
    else:
        rows = read_split(source, "train")
        columns = rows.column_names
        second = next((name for name in ("completion", "reference", "output") if name in columns), None)
        if "text" in columns:
            found = list(rows["text"][:])
        elif "prompt" in columns and second is not None:
            found = [_joined(row["prompt"], row[second]) for row in rows]
        else:
            raise DataError(f"{source} has the columns {', '.join(columns)}; call the texts 'text'.")
    texts = [text for text in found if isinstance(text, str) and text.strip()][:limit]
    if not texts:
        raise DataError(f"{source} holds no texts; give at least one.")
    return texts


def _joined(prompt: Any, completion: Any) -> str:
    texts = [prompt, completion]
    if all(isinstance(each, str) for each in texts):
        return str(prompt) + str(completion)
    return "\n\n".join(prompt_text(each) for each in texts if each is not None)


@torch.no_grad()
def measured_forgetting(
    sampler: TransformersSampler, base: TransformersSampler, texts: Sequence[str], *, max_tokens: int
) -> Forgetting | None:
    """Return the loss of a model and its base on texts, and KL(base ‖ model), a token.

    Every token but the first is predicted from those before it; texts of a single token are left out.

    Args:
        sampler: of the model.
        base: of the model that it comes from.
        texts: plain ones.
        max_tokens: of a text the first so many are read.

    Returns:
        None where the two have different vocabularies.

    Raises:
        DataError: no text has two tokens.
    """
    if sampler.tokenizer.get_vocab() != base.tokenizer.get_vocab():
        return None
    most = min(max_tokens, *(context_length(each.model) or max_tokens for each in (sampler, base)))
    tokens = [sampler.tokenizer(text, truncation=True, max_length=most)["input_ids"] for text in texts]
    tokens = [each for each in tokens if len(each) > 1]
    if not tokens:
        raise DataError(f"None of {len(texts)} texts has two tokens, such as {excerpt(texts[0])}; give longer ones.")
    sides: tuple[list[Any], list[Any], list[Any]] = ([], [], [])
    # Of like length together, or padding is computed too; back in their order below.
    order = sorted(range(len(tokens)), key=lambda place: len(tokens[place]))
    vocabulary = min(model.get_output_embeddings().weight.shape[0] for model in (sampler.model, base.model))
    start = 0
    while start < len(order):
        size = max(1, min(_AT_MOST, _NUMBERS_AT_ONCE // (vocabulary * len(tokens[order[start]]))))
        places = order[start : start + size]
        found = _of_batch(base.model, sampler.model, [tokens[place] for place in places], vocabulary)
        for side, values in zip(sides, found, strict=True):
            side += values
        start += size
    back = sorted(range(len(order)), key=order.__getitem__)
    ours, theirs, divergences = ([side[place] for place in back] for side in sides)
    return forgetting(ours, theirs, kl=divergences)


def _of_batch(base: Any, model: Any, rows: Sequence[list[int]], vocabulary: int) -> tuple[list[Any], ...]:
    """Return of every text the log-probabilities of its tokens under base and model, and the KL at each."""
    device, longest = model.device, max(map(len, rows))
    ids = torch.tensor([row + [row[0]] * (longest - len(row)) for row in rows], device=device)
    mask = torch.tensor([[True] * len(row) + [False] * (longest - len(row)) for row in rows], device=device)
    parts = Tokens(ids[:, :1], mask[:, :1], ids[:, 1:], mask[:, 1:])
    first, second = (
        completion_logits(each, parts)[0][..., :vocabulary].float().log_softmax(-1) for each in (base, model)
    )
    chosen = [side.gather(-1, parts.completion_ids[..., None])[..., 0] for side in (first, second)]
    divergence = torch.where(first > -torch.inf, first.exp() * (first - second), 0.0).sum(-1).clamp(min=0)
    return tuple(
        [
            values[:n].double().cpu().numpy()
            for values, n in zip(each, parts.completion_mask.sum(-1).tolist(), strict=True)
        ]
        for each in (*chosen, divergence)
    )


def forgetting_figures(found: Forgetting | None) -> Mapping[str, Any]:
    """Return what the record of results has of it."""
    if found is None:
        return {}
    parts = {"base_loss": found.base_loss, "loss": found.loss, "increase": found.increase}
    return {"forgetting": {**parts, **({} if found.forward_kl is None else {"forward_kl": found.forward_kl})}}
