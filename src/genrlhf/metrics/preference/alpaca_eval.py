"""AlpacaEval's own judges, from their configuration folders."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from genrlhf.errors import ConfigError, excerpt
from genrlhf.metrics.preference.templates import JudgeTemplate
from genrlhf.metrics.preference.verdicts import VerdictReader, read_patterns, read_ranking, read_scores

__all__ = ["AlpacaEvalJudge", "load_alpaca_eval_judge"]

_KEYS = frozenset(
    """
    prompt_template fn_completions completions_kwargs fn_completion_parser completion_parser_kwargs batch_size
    completion_key base_dir is_randomize_output_order is_shuffle randomize_seed seed is_store_raw_completions
    """.split()  # noqa: SIM905
)
_MARKED = re.compile(r"<\|im_start\|>([^\n]*)\n(.*?)(?:<\|im_end\|>|\Z)", re.DOTALL)


@dataclass(frozen=True)
class AlpacaEvalJudge:
    """A judge that AlpacaEval's users know by name.

    Attributes:
        template: what is asked, and how the answer is read.
        model: the model that it is written for.
        settings: what its model is called with, such as `temperature`.
    """

    template: JudgeTemplate
    model: str
    settings: Mapping[str, Any]


def load_alpaca_eval_judge(folder: str | Path) -> AlpacaEvalJudge:
    """Return the judge that a folder with `configs.yaml` and a template describes, as AlpacaEval ships them.

    The path of the template is looked for in the folder, and beside it.

    Args:
        folder: with one judge in its `configs.yaml`.

    Raises:
        ConfigError: there is no such file, it has more than one judge, a key that AlpacaEval does not know, or asks for
            what is not supported: batches of several comparisons, or another parser than `ranking_parser`,
            `regex_parser` and `lmsys_parser`.
    """
    place = Path(folder)
    file = place / "configs.yaml"
    name, config = _read(file)
    unknown = sorted(set(config) - _KEYS)
    if unknown:
        raise ConfigError(f"{file} has the unknown key {unknown[0]!r}; the keys are {', '.join(sorted(_KEYS))}.")
    if config.get("batch_size", 1) != 1:
        raise ConfigError(f"{file} asks for batch_size {config['batch_size']}; only 1, a comparison a call, is read.")
    called = config.get("completions_kwargs") or {}
    template = JudgeTemplate(
        name=name,
        messages=_messages(_template_file(place, config.get("prompt_template"))),
        read=_reader(config, file),
        max_new_tokens=int(called.get("max_tokens", 100)),
    )
    settings = {key: value for key, value in called.items() if key not in ("model_name", "max_tokens")}
    return AlpacaEvalJudge(template, str(called.get("model_name", "")), settings)


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


def _messages(file: Path) -> list[dict[str, str]]:
    """Return the conversation of a template in ChatML, or all of it as one user's message."""
    text = file.read_text(encoding="utf-8").strip()
    marked = _MARKED.findall(text)
    if not marked:
        return [{"role": "user", "content": text}]
    return [{"role": role.strip(), "content": content.strip()} for role, content in marked]


def _reader(config: Mapping[str, Any], file: Path) -> VerdictReader:
    parser = config.get("fn_completion_parser", "regex_parser")
    if parser == "ranking_parser":
        return read_ranking
    if parser == "lmsys_parser":
        return read_scores
    if parser != "regex_parser":
        raise ConfigError(f"{file} asks for {parser!r}; regex_parser, ranking_parser and lmsys_parser are supported.")
    patterns = (config.get("completion_parser_kwargs") or {}).get("outputs_to_match")
    if not isinstance(patterns, dict) or not patterns or not set(patterns) <= {0, 1, 1.5, 2}:
        raise ConfigError(f"{file} needs completion_parser_kwargs.outputs_to_match with patterns for 1 and 2.")
    try:
        return partial(read_patterns, patterns={float(key): re.compile(str(value)) for key, value in patterns.items()})
    except re.error as error:
        raise ConfigError(f"{file} has a pattern that is no regular expression: {error}.") from error
