"""What a study is made of, as YAML or Python objects say it: checked, nothing loaded."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from genrlhf.errors import ConfigError, excerpt
from genrlhf.types import SamplingParams
from genrlhf.yaml_files import read_yaml

__all__ = ["Entry", "Part", "Recipe", "Sampling", "checked", "near_miss", "read_recipe"]

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass as _ModelMeta
else:
    _ModelMeta = type(BaseModel)

LARGEST_SEED = 2**32 - 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_TAKEN = ("auto", "forgetting", "gold", "none", "preferences", "results", "shifts")
_PARAMS = tuple(each.name for each in fields(SamplingParams) if each.name not in ("temperature", "logprobs"))


def near_miss(name: object, known: Sequence[str]) -> str:
    """Return "; did you mean 'x'" where one of `known` is much like `name`, else nothing."""
    close = difflib.get_close_matches(str(name), known, n=1)
    return f"; did you mean {close[0]!r}" if close else ""


class _Told(_ModelMeta):
    """Has parts that are built in Python raise errors of ours.

    Not `__init__`, which pydantic calls for parts of parts as well, and it tells where they are.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().__call__(*args, **kwargs)
        except ValidationError as error:
            raise ConfigError(_told(error, "" if self.__name__ == "Recipe" else self.__name__)) from error


class Part(BaseModel, metaclass=_Told):
    """A part of a YAML file: unknown fields are refused, with what was probably meant."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True, populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown(cls, values: Any) -> Any:
        known = [field.alias or name for name, field in cls.model_fields.items()]
        if isinstance(values, Mapping) and cls.model_config.get("extra") == "forbid":
            for name in values:
                if name not in known and name not in cls.model_fields:
                    hint = near_miss(name, known) or f"; there are {', '.join(known)}"
                    raise ValueError(f"there is no field {name!r}{hint}")
        return values


def _listed(value: Any) -> Any:
    """Let one value stand for a list of one."""
    return value if isinstance(value, (list, tuple)) else [value]


def _each_once(values: Sequence[Any]) -> Sequence[Any]:
    twice = next((value for place, value in enumerate(values) if value in values[:place]), None)
    if twice is not None:
        raise ValueError(f"{twice} is there twice; name each once.")
    return values


def _nothing(value: Any) -> Any:
    return None if isinstance(value, str) and value.lower() == "none" else value


def _texts(value: Any) -> Any:
    if isinstance(value, bool):
        return {} if value else None
    return {"texts": value} if isinstance(value, str) else value


Count = Annotated[int, Field(strict=True, ge=1)]
Number = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
Seed = Annotated[int, Field(strict=True, ge=0, le=LARGEST_SEED)]
Seeds = Annotated[list[Seed], BeforeValidator(_listed), Field(min_length=1), AfterValidator(_each_once)]
Temperatures = Annotated[list[Number], BeforeValidator(_listed), Field(min_length=1), AfterValidator(_each_once)]
Texts = Annotated[tuple[str, ...], BeforeValidator(lambda value: tuple(_listed(value)))]


class Sampling(Part):
    """How outputs are drawn.

    Attributes:
        temperatures: at each of which every method is sampled; a curve needs three or more.
        outputs_per_input: K, the outputs of an input whose per-input diversity is measured.
        diversity_inputs: inputs of the set in distribution whose per-input diversity is measured, the first ones; of
            the others, and in the other sets, one output is drawn.
        batch_size: sequences decoded at a time.
        best_of_n: every output is the one with the highest reward of so many; in an arm's own sampling alone.
        reward: what chooses it.
        group_reward: chooses by what this makes of the rewards of the samples that are chosen from: darling, frequency,
            dqo, package.module:name, or a function.
        verbalized: ask for so many responses with their probabilities a call, and draw one by them; `max_new_tokens` is
            then that of a call.
        verbalized_tail: ask for responses whose probability is below this.
        max_new_tokens: this and all others as of `SamplingParams`.
    """

    temperatures: Temperatures = [1.0]
    outputs_per_input: Count = 16
    diversity_inputs: Annotated[int, Field(strict=True, ge=0)] = 500
    batch_size: Count = 256
    best_of_n: Count | None = None
    reward: Any = None
    group_reward: Any = None
    verbalized: Annotated[int, Field(strict=True, ge=2)] | None = None
    verbalized_tail: Annotated[float, Field(strict=True, gt=0, lt=1)] | None = None
    max_new_tokens: Count = 48
    min_new_tokens: Annotated[int, Field(strict=True, ge=0)] = 0
    top_k: Annotated[int, Field(strict=True, ge=0)] = 0
    top_p: Number = 1.0
    min_p: Number = 0.0
    repetition_penalty: Number = 1.0
    stop: Texts = ()

    @model_validator(mode="after")
    def _can_be_drawn(self) -> Sampling:
        try:
            self.params(1.0)
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return self

    def params(self, temperature: float) -> SamplingParams:
        """Return how outputs are drawn at a temperature."""
        return SamplingParams(temperature=temperature, **{name: getattr(self, name) for name in _PARAMS})

    def outputs_of(self, row: int, name: str = "id") -> int:
        """Return how many outputs the input at `row` of the evaluation set `name` gets."""
        return self.outputs_per_input if name == "id" and row < self.diversity_inputs else 1


class Interpolation(Part):
    """Weights between two models, (1 − α) θ_start + α θ_end (Wortsman et al. 2022, WiSE-FT, arXiv 2109.01903).

    Attributes:
        start: a method, "base" for the base model, or a model.
        end: likewise.
        alpha: α, between 0 and 1.
    """

    start: str = "base"
    end: str
    alpha: Annotated[float, Field(strict=True, ge=0, le=1)] = 0.5


class ForgettingOf(Part):
    """What models are asked whether they have forgotten.

    Attributes:
        texts: "demonstrations", those of the task that are held out; an evaluation set, prompts with their references;
            or a file: of a .txt what empty lines separate, else rows of `text`.
        base: the model that others come from: another method, a model, or "base" for the base model.
        limit: the first so many texts.
        max_tokens: of a text the first so many.
    """

    texts: str = "demonstrations"
    base: str = "base"
    limit: Count = 200
    max_tokens: Annotated[int, Field(strict=True, ge=2)] = 512


class Preferences(Part):
    """Preferences between samples of a method's model, where the task has none.

    Attributes:
        source: the method whose samples are compared.
        prompts: so many, the first of the task's.
        samples: of each prompt, ranked by the gold score or an automatic rater.
        pairs: of each prompt.
        temperature: of the Bradley-Terry labels, in units of the score; 0 for labels without noise.
        parts: the samples are drawn in so many stages, which can be made at the same time; they are the same.
    """

    source: str = Field(alias="from")
    prompts: Count = 1000
    samples: Annotated[int, Field(strict=True, ge=2)] = 4
    pairs: Count = 2
    temperature: Number = 0.0
    parts: Count = 1


class Entry(Part):
    """One entry of `methods`.

    Attributes:
        method: what trains it: a name of the registry, package.module:NAME, or a `Method`; by default the entry's name.
        start: what training starts from: another method, or a model; by default the base model.
        reward: what it is trained for: a reward model among the methods, a model, package.module:function, "gold" for
            the task's true score, or a mapping of these to weights.
        compare: sample and measure it; by default all but reward models.
        label: in tables.
        peft: train an adapter: fields of PEFT's `LoraConfig`.
        source: sample the model of this method, otherwise than itself.
        model: a model as it is, a name or folder.
        interpolate: weights between two models.
        sampling: what is drawn otherwise than `sampling` says.

    All further fields are settings of the trainer and of the method.
    """

    model_config = ConfigDict(extra="allow", frozen=True, arbitrary_types_allowed=True, populate_by_name=True)

    method: Any = None
    start: str | None = None
    reward: Any = None
    compare: Annotated[bool, Field(strict=True)] | None = None
    label: str | None = None
    peft: dict[str, Any] | None = None
    source: str | None = Field(default=None, alias="from")
    model: str | None = None
    interpolate: Interpolation | None = None
    sampling: dict[str, Any] = {}

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of the trainer and of the method."""
        return dict(self.model_extra or {})


def _named(entries: dict[str, Any]) -> dict[str, Any]:
    for name in entries:
        if not _NAME.fullmatch(name) or name in _TAKEN:
            raise ValueError(
                f"{name!r} cannot be the name of a method: it is part of names of files; use letters, digits, '.', '_' "
                f"and '-', beginning with a letter or digit, and none of {', '.join(_TAKEN)}."
            )
    return entries


class Recipe(Part):
    """A study: methods on one task, how they are trained, sampled and measured.

    Attributes:
        task: a task's name, or a mapping of `name` and options of its loader; package.module:function (with options
            likewise) that returns a `Task`; or a `Task`.
        methods: what is compared, by name.
        model: the base model; by default the task's own.
        output_dir: where everything goes.
        title: of the report.
        seeds: every method is trained and sampled with each.
        sampling: how outputs are drawn.
        judge: what decides which of two outputs is better, for PvR: "gold", the task's true score; "reward:NAME", a
            reward model among the methods or elsewhere; a mapping of "openai" or "local" to options; package.module:
            name; a judge; or "none". By default gold, where the task has it.
        reward: the reward model whose scores of all outputs are reported; by default the first among the methods that
            is trained.
        metrics: of diversity: names, mappings of a name to options, or objects.
        reference: the method from which the KL is measured, and whose quality is that of equal-quality diversity; by
            default sft, where there is one.
        preferences: made where the task has none.
        forgetting: how much less likely texts are to every model than to the one that it comes from; a `ForgettingOf`,
            a file of texts, or True for held-out demonstrations; by default not measured.
        checker: what says which outputs are right, for pass@k and the number of outputs from which the base model
            solves more: "gold", the task's true score; package.module:function, called as a reward; either mapped to
            the least score of a right output; or "none". By default gold, where that is right or wrong.
        encoder: the sentence encoder, a name or folder, by which the distance of the evaluation sets is measured beside
            their words and lengths; by default none.
    """

    task: Any
    methods: Annotated[dict[str, Entry], Field(min_length=1), AfterValidator(_named)]
    model: str | None = None
    output_dir: str = "study"
    title: str | None = None
    seeds: Seeds = [0]
    sampling: Sampling = Sampling()
    judge: Annotated[Any, BeforeValidator(_nothing)] = "auto"
    reward: Annotated[str | None, BeforeValidator(_nothing)] = "auto"
    metrics: Annotated[list[Any], BeforeValidator(_listed)] = ["ead"]
    reference: str | None = None
    preferences: Preferences | None = None
    forgetting: Annotated[ForgettingOf | None, BeforeValidator(_texts)] = None
    checker: Annotated[Any, BeforeValidator(_nothing)] = "auto"
    encoder: Any = None

    @model_validator(mode="before")
    @classmethod
    def _empty_entries(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and isinstance(values.get("methods"), Mapping):
            entries = {str(name): {} if entry is None else entry for name, entry in values["methods"].items()}
            return {**values, "methods": entries}
        return values

    def sampling_of(self, name: str) -> Sampling:
        """Return how a method is drawn.

        Raises:
            ConfigError: its own sampling has a field that there is not.
        """
        own = self.methods[name].sampling
        given = {**{each: getattr(self.sampling, each) for each in self.sampling.model_fields_set}, **own}
        found: Sampling = checked(Sampling, given, f"methods.{name}.sampling")
        return found


def checked(kind: Any, values: Any, where: str) -> Any:
    """Return `kind` of `values`, or raise `ConfigError` that names the field."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_told(error, where)) from error


def _told(error: ValidationError, where: str) -> str:
    """Return the first of what is wrong in one line."""
    first = error.errors(include_url=False)[0]
    # Of a key or a union pydantic names what it tried, too; fields are what the reader wrote.
    path = [str(item) for item in first["loc"] if not str(item).startswith(("function-", "[key]"))]
    place = ".".join([*([where] if where and not where.endswith((".yaml", ".yml")) else []), *path])
    source = f"{where}, " if where.endswith((".yaml", ".yml")) else ""
    message = first["msg"].removeprefix("Value error, ").rstrip(".").replace(" after validation, not 0", "")
    shown = "" if first["type"] in ("value_error", "missing") else f", not {excerpt(first['input'])}"
    verb = "is missing" if first["type"] == "missing" else message[:1].lower() + message[1:] + shown
    return f"{source}{place or 'the study'}: {verb}{'?' if 'did you mean' in verb else '.'}"


def read_recipe(path: str | Path, **changes: Any) -> Recipe:
    """Return the recipe that a YAML file holds, with some of its fields changed.

    Raises:
        ConfigError: naming the field that is wrong.
    """
    path = Path(path)
    content = read_yaml(path, "name the YAML of a study")
    if not isinstance(content, Mapping):
        raise ConfigError(f"{path} holds {excerpt(content)}; a study is a mapping with task and methods.")
    recipe: Recipe = checked(Recipe, {**content, **changes}, path.name)
    return recipe
