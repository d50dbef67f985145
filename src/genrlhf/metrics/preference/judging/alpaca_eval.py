"""AlpacaEval's own judges, from their configuration folders."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from genrlhf.errors import ConfigError, excerpt
from genrlhf.metrics.preference.judging.logprobs import LogprobReader
from genrlhf.metrics.preference.judging.templates import JudgeTemplate, chat_messages
from genrlhf.metrics.preference.judging.verdicts import (
    VerdictReader,
    read_patterns,
    read_ranking,
    read_scores,
)

__all__ = ["AlpacaEvalJudge", "load_alpaca_eval_judge"]

_KEYS = frozenset(
    """
    prompt_template fn_completions completions_kwargs fn_completion_parser completion_parser_kwargs batch_size
    completion_key base_dir is_randomize_output_order is_shuffle randomize_seed seed is_store_raw_completions
    processors_to_kwargs
    """.split()  # noqa: SIM905
)
_OWN_ARGUMENTS = frozenset(
    """
    requires_chatml is_strip num_procs batch_size price_per_token client_kwargs client_function_name model_kwargs
    """.split()  # noqa: SIM905
)
"""What AlpacaEval's own functions take of `completions_kwargs`, and no endpoint."""
_LENGTHS = ("max_tokens", "max_completion_tokens", "max_tokens_to_sample", "max_new_tokens")
"""What the longest answer is called, for one kind of endpoint or another."""
_DEFAULTS = {"temperature": 0.7, "top_p": 1.0}
"""What AlpacaEval sends where a judge's folder does not say."""


@dataclass(frozen=True)
class AlpacaEvalJudge:
    """A judge that AlpacaEval's users know by name.

    Attributes:
        template: what is asked, and how the answer is read.
        model: the model that it is written for.
        settings: what its folder says its model is called with, such as `temperature`; what is None, `null` in the
            folder, is not to be sent. What AlpacaEval sends of its own accord is among the template's settings.
        base_url: of the endpoint that has the model, where it is not OpenAI's.
    """

    template: JudgeTemplate
    model: str
    settings: Mapping[str, Any]
    base_url: str | None = None


def load_alpaca_eval_judge(folder: str | Path) -> AlpacaEvalJudge:
    """Return the judge that a folder with `configs.yaml` and a template describes, as AlpacaEval ships them.

    The path of the template is looked for in the folder, and beside it.

    Args:
        folder: with one judge in its `configs.yaml`.

    Raises:
        ConfigError: there is no such file, it has more than one judge, a key that AlpacaEval does not know, or asks for
            what is not supported: batches of several comparisons, favoured or avoided tokens, or another parser than
            `ranking_parser` (alone or behind `json_parser`), `regex_parser`, `lmsys_parser` and `logprob_parser`.
    """
    place = Path(folder)
    file = place / "configs.yaml"
    name, config = _read(file)
    unknown = sorted(set(config) - _KEYS)
    if unknown:
        raise ConfigError(f"{file} has the unknown key {unknown[0]!r}; the keys are {', '.join(sorted(_KEYS))}.")
    if config.get("batch_size", 1) != 1:
        raise ConfigError(f"{file} asks for batch_size {config['batch_size']}; only 1, a comparison a call, is read.")
    called = dict(config.get("completions_kwargs") or {})
    for name_of in ("tokens_to_favor", "tokens_to_avoid"):
        if called.get(name_of):
            raise ConfigError(f"{file} asks for {name_of}, which is not supported; take it out.")
    read, read_logprobs = _readers(config, file)
    template = JudgeTemplate(
        name=name,
        messages=chat_messages(_template_file(place, config.get("prompt_template")).read_text(encoding="utf-8")),
        read=read,
        max_new_tokens=_longest(called, file),
        read_logprobs=read_logprobs,
        settings={key: value for key, value in _DEFAULTS.items() if key not in called},
    )
    base_url = (called.get("client_kwargs") or {}).get("base_url")
    # By this name it goes to the endpoint.
    left_out = {"model_name", *_LENGTHS, *_OWN_ARGUMENTS} - {"max_completion_tokens"}
    settings = {key: value for key, value in called.items() if key not in left_out}
    return AlpacaEvalJudge(template, str(called.get("model_name") or ""), settings, base_url)


def _longest(called: Mapping[str, Any], file: Path) -> int | None:
    """Return how long an answer may be, None where the folder leaves that to the endpoint, by `null`."""
    name, longest = next(((key, called[key]) for key in _LENGTHS if key in called), ("max_tokens", 2048))
    if longest is not None and (isinstance(longest, bool) or not isinstance(longest, int) or longest < 1):
        raise ConfigError(f"{file} has {name} {excerpt(longest)}; give a number of at least 1, or null.")
    return longest


def _read(file: Path) -> tuple[str, dict[str, Any]]:
    import yaml

    if not file.is_file():
        raise ConfigError(f"There is no {file}; give the folder of one of AlpacaEval's judges.")
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is no YAML: {excerpt(str(error), 200)}.") from error
    if not isinstance(content, dict) or len(content) != 1 or not isinstance(next(iter(content.values())), dict):
        raise ConfigError(f"{file} must hold one judge with its settings.")
    ((name, config),) = content.items()
    return str(name), config


def _template_file(place: Path, path: Any) -> Path:
    if not isinstance(path, str):
        raise ConfigError(f"{place / 'configs.yaml'} names no prompt_template; add the path of a text file.")
    for candidate in (place / path, place.parent / path, place / Path(path).name):
        if candidate.is_file():
            return candidate
    raise ConfigError(f"The template {path} of {place / 'configs.yaml'} is neither in {place} nor beside it.")


def _readers(config: Mapping[str, Any], file: Path) -> tuple[VerdictReader, LogprobReader | None]:
    parser = config.get("fn_completion_parser", "regex_parser")
    options = config.get("completion_parser_kwargs") or {}
    if parser == "pipeline_meta_parser":
        stages = options.get("parsers_to_kwargs") or {}
        if list(stages) != ["json_parser", "ranking_parser"]:
            raise ConfigError(f"{file} chains {', '.join(stages)}; json_parser before ranking_parser is supported.")
        # The ranking is found wherever it stands in the JSON.
        parser, options = "ranking_parser", stages["ranking_parser"] or {}
    if parser == "ranking_parser":
        return partial(read_ranking, names=(str(options.get("model_1_name", "model_1")), None)), None
    if parser == "lmsys_parser":
        return read_scores, None
    if parser == "logprob_parser":
        return _no_text, _logprob_reader(options, file)
    if parser != "regex_parser":
        raise ConfigError(
            f"{file} asks for {parser!r}; regex_parser, ranking_parser, lmsys_parser and logprob_parser are supported."
        )
    return _pattern_reader(options, file), None


def _no_text(text: str) -> None:
    """Read nothing: a judge of log-probabilities says nothing without them."""


def _logprob_reader(options: Mapping[str, Any], file: Path) -> LogprobReader:
    first, tokens, index = (options.get(key) for key in ("numerator_token", "denominator_tokens", "log_prob_index"))
    if not isinstance(first, str) or not isinstance(tokens, list) or not all(isinstance(one, str) for one in tokens):
        raise ConfigError(f"{file} needs a numerator_token and a list of denominator_tokens for its logprob_parser.")
    return LogprobReader(
        first,
        tuple(dict.fromkeys([first, *tokens])),
        binarise=bool(options.get("is_binarize", True)),
        position=index if isinstance(index, int) else 0,
        exact=True,
    )


def _pattern_reader(options: Mapping[str, Any], file: Path) -> VerdictReader:
    patterns = options.get("outputs_to_match")
    if not isinstance(patterns, dict) or not patterns or not set(patterns) <= {0, 1, 1.5, 2}:
        raise ConfigError(f"{file} needs completion_parser_kwargs.outputs_to_match with patterns for 1 and 2.")
    try:
        return partial(read_patterns, patterns={float(key): re.compile(str(value)) for key, value in patterns.items()})
    except re.error as error:
        raise ConfigError(f"{file} has a pattern that is no regular expression: {error}.") from error
