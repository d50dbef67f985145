"""A pool of annotators as a YAML file describes it: checked before anything is loaded or asked."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from genrlhf.annotators.pool import Annotator, AnnotatorPool
from genrlhf.errors import ConfigError, GenRLHFError, excerpt
from genrlhf.metrics.preference.judging.alpaca_eval import load_alpaca_eval_judge
from genrlhf.metrics.preference.judging.answer_store import AnswerStore
from genrlhf.metrics.preference.judging.openai_judge import OpenAIJudge
from genrlhf.metrics.preference.judging.templates import ANSWERS, TASKS, JudgeTemplate, judge_template, template_of
from genrlhf.studies.recipe import Part, checked
from genrlhf.yaml_files import read_yaml

if TYPE_CHECKING:
    from collections.abc import Callable

    from genrlhf.types import Judge

__all__ = ["read_pool"]

_ENDPOINT_ONLY = ("base_url", "key_variable", "temperature", "reasoning_effort", "extra_body", "prices")


def _none_or_auto(value: Any) -> Any:
    return None if isinstance(value, str) and value.lower() == "none" else value


def _pair_of_prices(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _an_answer(value: str) -> str:
    if value not in ANSWERS:
        raise ValueError(f"must be one of {', '.join(ANSWERS)}, not {value!r}")
    return value


Auto = Annotated["float | str | None", BeforeValidator(_none_or_auto)]
Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class AnnotatorEntry(Part):
    """One entry of `annotators`.

    Attributes:
        name: what it is called in files; by default its model and template.
        model: what an endpoint calls the model.
        local_model: a chat model on this machine, a hub name or folder.
        reward_model: a reward model, whose scores decide.
        base_url: of the endpoint; by default OPENAI_BASE_URL, or OpenAI's own.
        key_variable: the environment variable that has the key.
        template: what is asked: "instructions", "forum_posts", "news", or a text file with {instruction}, {output_1}
            and {output_2}, in ChatML or one user's message.
        answer: the form of the answer: "ranking", "letter", "logprobs", "reasoned" or "structured".
        alpaca_eval: one of AlpacaEval's configuration folders, in place of template and answer.
        temperature: of the answers; by default 1, as in AlpacaFarm, where the model takes one; "none" sends none.
        max_tokens: of an answer with all that is thought before it; "none" leaves that to the endpoint.
        reasoning_effort: how long a reasoning model thinks.
        extra_body: further fields of every request.
        noise: the share of labels that are flipped.
        weight: how often it is drawn beside the others.
        prices: of a million prompt tokens and of a million completion tokens.
        concurrency: requests in flight.
        timeout: seconds that an attempt may take in all.
        max_retries: attempts after the first.
    """

    name: str | None = None
    model: str | None = None
    local_model: str | None = None
    reward_model: str | None = None
    base_url: str | None = None
    key_variable: str | None = None
    template: str = "instructions"
    answer: Annotated[str, AfterValidator(_an_answer)] = "ranking"
    alpaca_eval: str | None = None
    temperature: Auto = "auto"
    max_tokens: Annotated[int | str | None, BeforeValidator(_none_or_auto)] = "auto"
    reasoning_effort: str | None = None
    extra_body: dict[str, Any] | None = None
    noise: Annotated[float, Field(strict=True, ge=0, le=0.5)] = 0.25
    weight: Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)] = 1.0
    prices: Annotated[tuple[Price, Price] | None, BeforeValidator(_pair_of_prices)] = None
    concurrency: Annotated[int, Field(strict=True, ge=1)] = 16
    timeout: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 120.0
    max_retries: Annotated[int, Field(strict=True, ge=0)] = 8

    @model_validator(mode="before")
    @classmethod
    def _keys_stay_outside(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and "api_key" in values:
            raise ValueError(
                "a key does not belong in a file; put it into OPENAI_API_KEY, or name another variable of the "
                "environment as key_variable"
            )
        return values

    @model_validator(mode="after")
    def _one_judge(self) -> AnnotatorEntry:
        given = [name for name in ("local_model", "reward_model") if getattr(self, name)]
        if self.model or (self.alpaca_eval and not given):
            given.append("model")
        if len(given) != 1:
            raise ValueError(
                f"{' and '.join(given)} are both given; keep one"
                if given
                else "give model, local_model or reward_model"
            )
        if given[0] != "model":
            for name in _ENDPOINT_ONLY:
                if name in self.model_fields_set:
                    raise ValueError(f"{name} is for the model of an endpoint; {given[0]} takes none")
        for name in ("temperature", "max_tokens"):
            if isinstance(value := getattr(self, name), str) and value != "auto":
                raise ValueError(f"{name} must be a number, auto or none, not {value!r}")
        return self


class PoolEntry(Part):
    """A file of a pool.

    Attributes:
        annotators: at least one.
        defaults: fields of all annotators that do not have them themselves.
    """

    annotators: Annotated[list[AnnotatorEntry], Field(min_length=1)]
    defaults: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _with_defaults(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or not isinstance(values.get("annotators"), list):
            return values
        defaults = values.get("defaults") or {}
        if not isinstance(defaults, Mapping):
            return values
        entries = [{**defaults, **one} if isinstance(one, Mapping) else one for one in values["annotators"]]
        return {**values, "annotators": entries, "defaults": dict(defaults)}


def read_pool(
    path: str | Path,
    *,
    seed: int = 0,
    noise: float | None = None,
    store: AnswerStore | str | Path | None = None,
    report: Callable[[str], object] | None = None,
) -> AnnotatorPool:
    """Return the pool of annotators that a YAML file describes.

    Keys are read from the environment alone. Files of templates are looked for beside the YAML.

    Args:
        path: of the YAML, a mapping with `annotators` and maybe `defaults`.
        seed: of all that is drawn.
        noise: of all annotators, in place of theirs: 0 to evaluate with a pool that training data were made with.
        store: keeps the answers of all judges, so that none is paid for twice; a store, or a file for one, which is
            made once the pool has been found to be right.
        report: called with what requests no longer ask for; by default it is a warning.

    Raises:
        ConfigError: naming the field that is wrong, or two annotators who would give the same answers.
        ModelError: a model on this machine cannot judge.
    """
    path = Path(path).expanduser()
    content = read_yaml(path, "name the YAML of a pool")
    if not isinstance(content, Mapping):
        raise ConfigError(f"{path} holds {excerpt(content)}; a pool of annotators is a mapping with annotators.")
    pool: PoolEntry = checked(PoolEntry, content, path.name)
    described = []
    for number, entry in enumerate(pool.annotators):
        where = f"{path.name}, annotators.{number}"
        try:
            described.append(_described(entry, path.parent))
        except GenRLHFError as error:
            raise type(error)(f"{where}: {error}") from error
    rates = {} if noise is None else {"noise": noise}
    plain = [
        Annotator(entry.name or label, _nobody, entry.weight, **{"noise": entry.noise, **rates})
        for entry, (_, _, label) in zip(pool.annotators, described, strict=True)
    ]
    AnnotatorPool(plain)
    kept = AnswerStore(store) if isinstance(store, (str, Path)) else store
    annotators: list[Annotator] = []
    asks: dict[Any, str] = {}
    for entry, (template, settings, _), one in zip(pool.annotators, described, plain, strict=True):
        try:
            judge, asked = _judge(entry, template, settings, kept, report, needed=one.weight > 0)
        except GenRLHFError as error:
            raise type(error)(f"{path.name}, annotator {one.name!r}: {error}") from error
        if asked in asks:
            raise ConfigError(
                f"{path.name}: {asks[asked]!r} and {one.name!r} ask the same of the same model, and would give the "
                "same answers; give one another template, temperature or extra_body, or keep one with twice the weight."
            )
        asks[asked] = one.name
        annotators.append(replace(one, judge=judge))
    return AnnotatorPool(annotators, seed=seed)


def _nobody(prompts: Any, first: Any, second: Any) -> list[None]:
    return [None] * len(prompts)


def _described(entry: AnnotatorEntry, folder: Path) -> tuple[JudgeTemplate, dict[str, Any], str]:
    """Return what is asked, with what settings, and what that is called."""
    settings: dict[str, Any] = {}
    if entry.alpaca_eval:
        described = load_alpaca_eval_judge(folder / Path(entry.alpaca_eval).expanduser())
        template, settings = described.template, dict(described.settings)
        settings |= {"base_url": described.base_url, "model": described.model}
    elif entry.template in TASKS:
        template = judge_template(entry.template, entry.answer)  # type: ignore[arg-type]
    else:
        file = folder / Path(entry.template).expanduser()
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError, ValueError) as error:
            raise ConfigError(
                f"template {excerpt(entry.template)} is none of {', '.join(TASKS)}, and {file} cannot be read as a "
                f"text ({getattr(error, 'strerror', None) or error})."
            ) from error
        template = template_of(text, entry.answer, name=file.stem)  # type: ignore[arg-type]
    model = entry.model or settings.get("model") or Path(entry.local_model or entry.reward_model or "").name
    return template, settings, f"reward_model:{model}" if entry.reward_model else f"{model}:{template.name}"


def _judge(
    entry: AnnotatorEntry,
    template: JudgeTemplate,
    settings: dict[str, Any],
    store: AnswerStore | None,
    report: Callable[[str], object] | None,
    *,
    needed: bool,
) -> tuple[Judge, Any]:
    """Return a judge, and what tells whether another would give the same answers."""
    if entry.reward_model:
        from genrlhf.studies.judges import RewardModelJudge

        return RewardModelJudge(entry.reward_model) if needed else _nobody, ("reward", entry.reward_model)
    messages = tuple((message["role"], message["content"]) for message in template.messages)
    if entry.local_model:
        asked = ("local", entry.local_model, messages, entry.max_tokens)
        return _local(entry, template, store) if needed else _nobody, asked
    if entry.key_variable and not os.environ.get(entry.key_variable, "").strip():
        raise ConfigError(f"the environment has no {entry.key_variable}, which key_variable names; set it to the key.")
    base_url, model = settings.pop("base_url", None), settings.pop("model", None)
    if not entry.alpaca_eval:
        # Not asked for by anybody: where a model takes none, it goes without.
        template = replace(template, settings={"temperature": 1.0, **template.settings})
    judge = OpenAIJudge(
        entry.model or model or "",
        template,
        settings=settings,
        max_tokens=entry.max_tokens,  # type: ignore[arg-type]
        temperature=entry.temperature,  # type: ignore[arg-type]
        reasoning_effort=entry.reasoning_effort,
        extra_body=entry.extra_body,
        report=report,
        base_url=entry.base_url or base_url,
        api_key=os.environ.get(entry.key_variable) if entry.key_variable else None,
        store=store,
        concurrency=entry.concurrency,
        timeout=entry.timeout,
        max_retries=entry.max_retries,
        prices=entry.prices,
    )
    if needed:
        judge.endpoint.client.check_key()
    return judge, judge.endpoint.key(judge.ask("prompt", "first", "second"))


def _local(entry: AnnotatorEntry, template: JudgeTemplate, store: AnswerStore | None) -> Judge:
    from genrlhf.models.fingerprint import model_fingerprint
    from genrlhf.studies.draws import sampler_of
    from genrlhf.studies.judges import LocalJudge

    folder = str(entry.local_model)
    label = f"{Path(folder).name}@{model_fingerprint(folder)}"
    return LocalJudge(
        sampler_of(folder),
        template,
        store=store,
        name=label,
        max_new_tokens=entry.max_tokens,  # type: ignore[arg-type]
    )
