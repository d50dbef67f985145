"""How instructions are generated and filtered."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from genrlhf.errors import ConfigError
from genrlhf.text import terms
from genrlhf.types import SamplingParams

__all__ = ["KEYWORDS", "ROW_FORMATS", "SelfInstructConfig"]

KEYWORDS = (
    *("image", "images", "graph", "graphs", "picture", "pictures", "file", "files", "map", "maps"),
    *("draw", "plot", "go to"),
)
"""What a model of text cannot do: words that Wang et al. 2023 drop instructions for."""

ROW_FORMATS = ("alpaca", "plain", "messages")

_NOT_OF_THE_RUN = ("target", "patience", "row_format")


@dataclass(frozen=True)
class SelfInstructConfig:
    """Settings of `self_instruct`, those of Wang et al. 2023 by default but for the number of instructions.

    All of them tell one run from another but `target`, `patience` and `row_format`, with others of which a folder goes
    on.
    """

    target: int = field(default=100, metadata={"help": "Instructions to keep in all; seeds are not counted."})
    chat: bool = field(
        default=False,
        metadata={"help": "Send prompts as a user's message, to a chat model; otherwise as text that is continued."},
    )
    seed: int = field(default=0, metadata={"help": "Of the choice of tasks for prompts, and of the samples."})
    seeds_in_context: int = field(
        default=6, metadata={"help": "Seed tasks in a prompt for instructions, and more where fewer are generated yet."}
    )
    generated_in_context: int = field(
        default=2, metadata={"help": "Instructions in a prompt that were generated and kept in earlier rounds."}
    )
    new_instructions: int = field(
        default=8, metadata={"help": "Instructions that a prompt asks for; what an answer has beyond them is dropped."}
    )
    requests_per_round: int = field(
        default=8,
        metadata={"help": "Prompts for instructions between which none sees what another gave: sent together."},
    )
    patience: int = field(
        default=10, metadata={"help": "Rounds in a row without an instruction kept, after which the run stops short."}
    )
    max_rouge_l: float = field(
        default=0.7,
        metadata={
            "help": "An instruction is dropped whose ROUGE-L to any seed or earlier instruction is this or more; 1 "
            "drops those alone that have the same words."
        },
    )
    min_words: int = field(default=4, metadata={"help": "Shortest instruction, in words."})
    max_words: int = field(default=150, metadata={"help": "Longest instruction, in words."})
    keywords: tuple[str, ...] = field(
        default=KEYWORDS, metadata={"help": "Words, and words in a row, that an instruction is dropped for."}
    )
    beginnings: tuple[str, ...] = field(
        default=("write a program",), metadata={"help": "Words that no instruction may begin with."}
    )
    same_script: bool = field(
        default=True,
        metadata={"help": "Drop an instruction whose first letter is of a script that no seed begins with."},
    )
    classification_examples: int = field(
        default=8, metadata={"help": "Seed tasks that show what is classification and what is not, half of each kind."}
    )
    instance_examples: int = field(
        default=4, metadata={"help": "Seed tasks with their instances in a prompt for instances."}
    )
    instances: int = field(default=5, metadata={"help": "Most instances of an instruction."})
    instruction_sampling: SamplingParams = field(
        default=SamplingParams(max_new_tokens=1024, temperature=0.7, top_p=0.5),
        metadata={"help": "How instructions are drawn."},
    )
    classification_sampling: SamplingParams = field(
        default=SamplingParams(max_new_tokens=8, temperature=0.0),
        metadata={"help": "How the answers are drawn that say what is classification."},
    )
    instance_sampling: SamplingParams = field(
        default=SamplingParams(max_new_tokens=350, temperature=0.0), metadata={"help": "How instances are drawn."}
    )
    row_format: Literal["alpaca", "plain", "messages"] = field(
        default="alpaca",
        metadata={
            "help": "Prompts of the rows: Alpaca's template, instruction and input with an empty line between them, "
            "or messages of a user and an assistant."
        },
    )

    def __post_init__(self) -> None:
        for name in ("keywords", "beginnings"):
            value = getattr(self, name)
            if isinstance(value, str):
                raise ConfigError(f"{name} must be a sequence of strings, not one string; write {name}=({value!r},).")
            object.__setattr__(self, name, tuple(value))
        for name, good, wanted in (
            *((name, _is_count(getattr(self, name), 1), "a whole number, at least 1") for name in _AT_LEAST_ONE),
            *((name, _is_count(getattr(self, name), 0), "a whole number, 0 or more") for name in _ZERO_OR_MORE),
            ("max_rouge_l", _is_number(self.max_rouge_l) and 0 < self.max_rouge_l <= 1, "above 0 and at most 1"),
            *((name, all(map(_has_terms, getattr(self, name))), "texts with words") for name in _TEXTS),
            *((name, isinstance(getattr(self, name), SamplingParams), "SamplingParams") for name in _SAMPLING),
            ("row_format", self.row_format in ROW_FORMATS, f"one of {', '.join(ROW_FORMATS)}"),
        ):
            if not good:
                raise ConfigError(f"{name} must be {wanted}, not {getattr(self, name)!r}.")
        if self.max_words < self.min_words:
            raise ConfigError(f"max_words ({self.max_words}) must be at least min_words ({self.min_words}).")
        if not self.seeds_in_context + self.generated_in_context:
            raise ConfigError(
                "seeds_in_context and generated_in_context are both 0; a prompt needs tasks to go on from."
            )

    def of_the_run(self) -> dict[str, Any]:
        """Return the settings that tell one run from another, as JSON has them."""
        return {name: value for name, value in asdict(self).items() if name not in _NOT_OF_THE_RUN}


_AT_LEAST_ONE = ("target", "new_instructions", "requests_per_round", "patience", "instances", "max_words")
_ZERO_OR_MORE = (
    *("seed", "seeds_in_context", "generated_in_context", "min_words"),
    *("classification_examples", "instance_examples"),
)
_TEXTS = ("keywords", "beginnings")
_SAMPLING = ("instruction_sampling", "classification_sampling", "instance_sampling")


def _is_count(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _has_terms(text: Any) -> bool:
    return isinstance(text, str) and bool(terms(text))
