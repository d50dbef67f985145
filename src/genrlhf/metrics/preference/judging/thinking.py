"""What a reasoning model wrote before its answer, and where the answer begins.

Servers that do not take a model's reasoning out of its text send it in the marks of the model's family. What it holds
is no answer, whatever it says: the answer is the text behind it, and where the reasoning was cut off there is none.
"""

from __future__ import annotations

import re

__all__ = ["THINKING_WAS_CUT_OFF", "behind_thinking"]

THINKING_WAS_CUT_OFF = (
    "it was cut off while it was thinking; allow longer answers (max_tokens) or less reasoning effort"
)
"""Why there is no answer, where the reasoning has no end."""

_WORDS = (
    r"(?:\w{1,20}[:_])?(?:think|thinking|thought|thoughts|reason|reasoning|rationale|reflection|analysis|scratch_?pad|cot"
    r"|chain_of_thought|monologue|deliberation)"
)
# DeepSeek, Qwen and many others; Magistral; Kimi; Command; OpenThinker; gpt-oss, with its special tokens; Gemma;
# Apertus.
_OPENING = re.compile(
    rf"^[^\S\n]{{0,99}}(?:(?:<\|?|&lt;)\s?{_WORDS}(?:\s[^<>\n]{{0,60}})?(?:\|?>|&gt;)|\[THINK\]|◁think▷|<\|START_THINKING\|>"
    r"|<\|begin_of_thought\|>|<\|channel\|>\s?(?:analysis|commentary)|<\|channel>thought|<unused94>thought|<\|inner_prefix\|>)",
    re.IGNORECASE | re.MULTILINE,
)
_CLOSING = re.compile(
    rf"(?:<\|?|&lt;)\s?/\s?{_WORDS}\s?(?:\|?>|&gt;)|\[/THINK\]|◁/think▷|<\|END_THINKING\|>|<\|end_of_thought\|>"
    r"|<\|channel\|>\s?final\s?<\|message\|>|<channel\|>|<unused95>|<\|inner_suffix\|>",
    re.IGNORECASE,
)
# gpt-oss without its special tokens; Granite.
_PLAIN = re.compile(
    r"\Aanalysis.*assistant\s?final|\A\s*Here(?:'s| is) my thought process:.*Here(?:'s| is) my response:", re.DOTALL
)
_PLAIN_OPENING = re.compile(r"\A\s*Here(?:'s| is) my thought process:")
_SPECIAL = re.compile(r"(?:\s|</s>|<eos>|<end_of_turn>|<\|(?:im_end|eot_id|end|return|endoftext|end_of_text)\|>)+\Z")
_NAMES = r"(?:answer|response|output|final|final_answer|solution)>"
_WRAPPING = re.compile(rf"<\|START_RESPONSE\|>|<\|begin_of_(?:box|solution)\|>|<{_NAMES}", re.IGNORECASE)
_WRAPPED = re.compile(rf"<\|END_RESPONSE\|>|<\|end_of_(?:box|solution)\|>|</{_NAMES}", re.IGNORECASE)
_TAGS = 3
"""That hold an answer, one within another."""
_SPECIAL_TAIL = 1000
"""Characters at the end of an answer among which special tokens are looked for."""


def behind_thinking(text: str) -> tuple[str | None, bool]:
    """Return the answer behind the reasoning, None where that was cut off, and whether there was any.

    The answer begins behind the *last* mark that closes reasoning, since what is judged may hold such marks, and
    reasoning quotes it. The mark that opens it may be missing: many chat templates put it into the prompt. An opening
    mark counts at the start of a line only, since an answer may speak of one.

    Example:
        >>> behind_thinking("<think>[[A]]? No.</think> [[B]]")
        ('[[B]]', True)
        >>> behind_thinking("<think>[[A]]? No, ")
        (None, True)
    """
    end = max((match.end() for match in _CLOSING.finditer(text)), default=0)
    if not end and (plain := _PLAIN.match(text)):
        end = plain.end()
    answer = text[end:]
    if _OPENING.search(answer) or _PLAIN_OPENING.match(answer):
        return None, True
    return _unwrapped(answer), bool(end)


def _unwrapped(answer: str) -> str:
    """Return an answer without the special tokens at its end, and without the tags that hold all of it."""
    head, tail = answer[:-_SPECIAL_TAIL], answer[-_SPECIAL_TAIL:]
    answer = (head + _SPECIAL.sub("", tail)).lstrip()
    # GLM puts a box into an <answer>.
    for _ in range(_TAGS):
        within = answer.strip()
        if not (opening := _WRAPPING.match(within)):
            break
        answer = within[opening.end() :]
        for closing in _WRAPPED.finditer(answer):
            if closing.end() == len(answer):
                answer = answer[: closing.start()]
    return answer
