"""What a judge's requests ask for: by what the model is called, and by what its endpoint refuses.

OpenAI's reasoning models take `max_completion_tokens` in place of `max_tokens`, and neither `temperature` nor
`logprobs`; what they think counts among the tokens of the answer. Other servers know `max_tokens` alone, or lack
`response_format`. A model's name does not always say which it is: Azure's is that of a deployment, a local server's may
be anything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from genrlhf.errors import ConfigError

__all__ = ["THINKING_ROOM", "Auto", "RequestOptions", "request_options", "thinks"]

Auto: TypeAlias = Literal["auto"]
"""What the model and the template say."""

THINKING_ROOM = 8192
"""Tokens that a model that thinks may take for that, before its answer."""

_OPENAI_REASONING = re.compile(r"(?:o[1-9]|gpt-(?:[5-9]|\d\d)(?!\d|.*-chat)|codex-)(?:$|[-.].*)")
_THINKS = re.compile(
    r"deepseek-reasoner|deepseek-r\d|(?:^|[-_.])r1(?:$|[-_.])|qwq|qwen3(?!.*instruct)|gpt-oss|magistral|reason|think"
    r"|seed-oss|minimax-m\d|glm-(?:4\.[5-9]|[5-9])|gemini-(?:2\.5|[3-9])|grok-(?:3-mini|[4-9])"
)
_NOT_OF_REASONING = frozenset({"temperature", "top_p", "top_logprobs", "logprobs"})
_LENGTHS = ("max_completion_tokens", "max_tokens")
_REFUSED = re.compile(
    r"unsupported|not.{0,20}(?:support|permitted|allowed|available)|un(?:recogni[sz]ed|known|expected|available)|deprecated"
    r"|extra (?:inputs?|fields?)|only the default|invalid (?:parameter|argument|field)|use .?max_",
    re.IGNORECASE,
)
_TOO_LARGE = re.compile(r"too large|greater than|exceed|at most|less than|too high|larger than", re.IGNORECASE)
_LONGEST_ANSWER = 2**17
"""Tokens that an answer has at most where no request says how many it may have."""
_REFUSING = (400, 403, 422)
"""Statuses with which endpoints refuse a field."""


@dataclass(frozen=True)
class RequestOptions:
    """The fields of every request, beside the messages.

    Attributes:
        fields: by name; none of them is None.
        own: those among them that nobody asked for, so that they may go where the endpoint refuses them.
        room: tokens that are added where the model turns out to think, 0 where they are or the length was asked for.
        roomy: there is room for thinking that nobody asked for.
    """

    fields: Mapping[str, Any]
    own: frozenset[str] = frozenset()
    room: int = 0
    roomy: bool = False

    @property
    def longest(self) -> int | None:
        """How many tokens an answer may have; None where the endpoint decides."""
        return next((self.fields[name] for name in _LENGTHS if name in self.fields), None)

    @property
    def most_tokens(self) -> int:
        """How many tokens of answers a request may be billed, also where the endpoint decides."""
        several: int = self.fields.get("n", 1)
        return (self.longest or _LONGEST_ANSWER) * several

    def without_refused(self, status: int | None, said: str) -> tuple[RequestOptions, str] | None:
        """Return what to ask for instead, and what that changes in words; None where the refusal has another cause.

        Args:
            status: of the refusal.
            said: its message.
        """
        if status not in _REFUSING:
            return None
        lengths = self.own & set(_LENGTHS)
        if self.roomy and _TOO_LARGE.search(said) and any(_names(said, name) for name in lengths):
            return self._without(
                lengths
            ), f"{_listed(lengths)} is not sent, since it is larger than the endpoint allows"
        if not _REFUSED.search(said):
            return None
        if "max_tokens" in self.own and _names(said, "max_tokens"):
            return self._as_reasoning()
        if "max_completion_tokens" in self.own and _names(said, "max_completion_tokens"):
            renamed = self._renamed("max_completion_tokens", "max_tokens")
            return renamed, "max_tokens is sent in place of max_completion_tokens"
        for names in (("temperature",), ("top_p",), ("top_logprobs", "logprobs"), ("response_format",)):
            if any(_names(said, name) for name in names) and (gone := self.own & set(names)):
                return self._without(gone), f"{_listed(gone)} {_is(gone)} not sent"
        return None

    def for_thinking(self) -> tuple[RequestOptions, str] | None:
        """Return options that leave room for thinking, and that in words; None where they do, or must not."""
        if not self.room or self.longest is None:
            return None
        name = next(name for name in _LENGTHS if name in self.fields)
        longer = replace(self, fields={**self.fields, name: self.longest + self.room}, room=0, roomy=True)
        return longer, f"the model thinks before it answers, so that answers may have {longer.longest} tokens"

    def refused_by_name(self, status: int | None, said: str) -> str | None:
        """Return which field that was asked for the endpoint refuses, None where that is not the cause."""
        if status not in _REFUSING or not _REFUSED.search(said):
            return None
        return next((name for name in self.fields if name != "model" and _names(said, name)), None)

    def _as_reasoning(self) -> tuple[RequestOptions, str]:
        gone = self.own & _NOT_OF_REASONING
        found = self._without(gone)._renamed("max_tokens", "max_completion_tokens")
        words = "max_completion_tokens is sent in place of max_tokens"
        if gone:
            words += f", and {_listed(gone)} {_is(gone)} not sent"
        if (longer := found.for_thinking()) is not None:
            found, words = longer[0], f"{words}; {longer[1]}"
        return found, words

    def _renamed(self, old: str, new: str) -> RequestOptions:
        fields = {new if name == old else name: value for name, value in self.fields.items()}
        # Not to be renamed again: an endpoint that takes neither name would be asked for ever.
        return replace(self, fields=fields, own=self.own - {old})

    def _without(self, names: frozenset[str]) -> RequestOptions:
        fields = {name: value for name, value in self.fields.items() if name not in names}
        return replace(self, fields=fields, own=self.own - names)


def request_options(
    model: str,
    *,
    longest_answer: int | None,
    needed: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    extra_body: Mapping[str, Any] | None = None,
    max_tokens: int | Auto | None = "auto",
    temperature: float | Auto | None = "auto",
    reasoning_effort: str | None = None,
) -> RequestOptions:
    """Return the fields of a judge's requests.

    Args:
        model: its name, by which OpenAI's reasoning models are known (o1, o3, o4-mini, gpt-5, with a provider in front
            or not), and others that think.
        longest_answer: tokens of the answer alone, None to leave that to the endpoint.
        needed: fields that the template needs.
        settings: further fields; None for one that is not to be sent. The arguments below take their place.
        extra_body: further fields, which take the place of all others.
        max_tokens: of an answer with all that is thought before it; "auto" for `longest_answer`, and `THINKING_ROOM`
            more for a model that is known to think; None to send no such field.
        temperature: "auto" for 0, or what the template needs, but for a reasoning model of OpenAI's; None to send none.
        reasoning_effort: such as "low"; None to send none.

    Raises:
        ConfigError: a length is no whole number of at least 1, a temperature is negative or no number, or a stream is
            asked for.

    Example:
        >>> dict(request_options("o4-mini", longest_answer=100).fields)
        {'model': 'o4-mini', 'max_completion_tokens': 8292}
    """
    given = dict(settings or {})
    reasoning = bool(_OPENAI_REASONING.fullmatch(model.lower().rsplit("/", 1)[-1]))
    roomy = thinks(model) or reasoning_effort is not None
    own: dict[str, Any] = {"temperature": 0, **(needed or {})}
    if reasoning:
        own = {key: value for key, value in own.items() if key not in _NOT_OF_REASONING}
    if max_tokens != "auto":
        given = {key: value for key, value in given.items() if key not in _LENGTHS}
    if temperature != "auto":
        given["temperature"] = temperature
    if reasoning_effort is not None:
        given["reasoning_effort"] = reasoning_effort
    given |= extra_body or {}
    length = "max_completion_tokens" if reasoning else "max_tokens"
    automatic = False
    if not any(given.get(one) is not None for one in _LENGTHS):
        if max_tokens == "auto":
            own[length] = longest_answer and longest_answer + (THINKING_ROOM if roomy else 0)
            automatic = True
        else:
            own[length] = max_tokens
    fields = {key: value for key, value in {"model": model, **own, **given}.items() if value is not None}
    _check(fields)
    return RequestOptions(
        fields,
        frozenset(own) & frozenset(fields) - frozenset(given),
        room=THINKING_ROOM if automatic and not roomy else 0,
        roomy=automatic and roomy,
    )


def thinks(model: str) -> bool:
    """Say whether a model is known by its name to think before it answers."""
    name = model.lower().rsplit("/", 1)[-1]
    return bool(_OPENAI_REASONING.fullmatch(name) or _THINKS.search(name))


def _check(fields: Mapping[str, Any]) -> None:
    if fields.get("stream"):
        raise ConfigError("settings must not ask for a stream; answers are read as a whole.")
    if "messages" in fields:
        raise ConfigError("settings must not have messages; those are the template's.")
    for name in (*_LENGTHS, "n"):
        value = fields.get(name, 1)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ConfigError(f"{name} must be a whole number of at least 1, not {value!r}.")
    heat = fields.get("temperature", 0)
    # A number that is none is not at least 0 either.
    if isinstance(heat, bool) or not isinstance(heat, (int, float)) or not 0 <= heat < float("inf"):
        raise ConfigError(f"temperature must be 0 or more, or None to send none, not {heat!r}.")


def _names(said: str, field_name: str) -> bool:
    """Say whether a message speaks of a field, and does not merely recommend it."""
    # Azure's messages have MaxTokens.
    plain = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", said).lower()
    if field_name == "max_tokens" and re.search(r"use .{0,3}max_completion_tokens", plain):
        return True
    without_advice = re.sub(r"use .{0,3}max_\w+", "", plain)
    return re.search(rf"(?<!\w){re.escape(field_name)}(?!\w)", without_advice) is not None


def _listed(names: frozenset[str]) -> str:
    return " and ".join(sorted(names))


def _is(names: frozenset[str]) -> str:
    return "is" if len(names) == 1 else "are"
