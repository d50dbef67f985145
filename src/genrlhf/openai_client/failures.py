"""What a failed request to a server that speaks OpenAI's API means: for all requests, for this one, or for now."""

from __future__ import annotations

import email.utils
import enum
import json
import math
import re
import time
from collections.abc import Mapping
from typing import Any

from genrlhf.errors import excerpt

__all__ = ["RequestError", "Scope", "parse_json", "refusal", "retry_after"]


class Scope(enum.Enum):
    """What a failure says about further attempts."""

    ATTEMPT = "another attempt may end otherwise"
    REQUEST = "this request is not answered, whatever is done; others may be"
    RUN = "every request would end the same way"


class RequestError(Exception):
    """A request that was not answered. The message is one line, without key or password.

    Attributes:
        scope: what it says about further attempts.
        status: of the server's answer, None where there was none.
        said: what the server gave as its reason.
        codes: its words for that, in lower case, and the field of the request that it names.
        wait: seconds that the server asks to wait.
        may_be_billed: whether the server may have worked on it.
        unreachable: no connection came about.
        timed_out: it took longer than it may.
        doubtful: the server refused it for a reason that we do not know, so that it may refuse all.
        too_long: it, or what it may be answered, is longer than the model takes.
        given_up: another attempt might have been answered, but there were enough.
    """

    def __init__(
        self,
        message: str,
        scope: Scope,
        *,
        status: int | None = None,
        said: str = "",
        codes: frozenset[str] = frozenset(),
        wait: float | None = None,
        may_be_billed: bool = False,
        unreachable: bool = False,
        timed_out: bool = False,
        doubtful: bool = False,
        too_long: bool = False,
    ) -> None:
        super().__init__(message)
        self.scope = scope
        self.status = status
        self.said = said
        self.codes = codes
        self.wait = wait
        self.may_be_billed = may_be_billed
        self.unreachable = unreachable
        self.timed_out = timed_out
        self.doubtful = doubtful
        self.too_long = too_long
        self.given_up = False


_NO_MONEY_CODES = {
    "insufficient_quota",
    "insufficient_balance",
    "insufficient_credits",
    "billing_hard_limit_reached",
    "billing_not_active",
    "account_deactivated",
    "access_terminated",
    "arrearage",
    "exceeded_current_quota_error",
    "budget_exceeded",
}
_NO_MONEY = re.compile(
    r"insufficient[ _](balance|credit|fund)|balance is insufficient|credit balance is too low|account is not active"
    r"|used all available credits|reached your specified api usage limits|budget has been exceeded"
    r"|key limit exceeded|余额不足|欠费",
    re.I,
)
_SPENT_QUOTA = re.compile("exceeded your current (token )?quota", re.I)
_FILTERED = re.compile(
    r"content.?(filter|polic|management|moderation|violation)|responsible.?ai|moderat|flagged|data_inspection_failed"
    r"|inappropriate|safety (system|filter|check|reason|polic|setting)|unsafe|usage polic"
    r"|sensitive.?(content|information|word)|prohibited content|blocked|content exists risk|敏感|违规",
    re.I,
)
_TOO_LONG = re.compile(
    r"context.(length|window|size)|maximum context|longer than the (model|maximum)|too long|too many (input )?tokens"
    r"|max(imum)?.(input|prompt|sequence|model).(length|len|tokens)|request too large|reduce the length"
    r"|string_above_max_length|exceeds? the (maximum|available) (context|input|prompt|length|number of tokens|tokens?)"
    r"|must have less than [\d,]{1,12} tokens|max_new_tokens\W{1,3}must be|input length should be",
    re.I,
)
_TOO_LARGE_FOR_A_RATE = re.compile("request too large|reduce the length", re.I)
"""That one request is longer than all of a minute: others say "too many tokens" of those of a minute together."""
_DEEPEST = 100
_PASSING = {408, 409, 425, 429}
_FINAL = {401, 402, 403, 404, 405, 407, 410, 421, 426, 501, 505}


def refusal(status: int, headers: Mapping[str, str], content: bytes, *, where: str, model: str) -> RequestError:
    """Return what an answer with an error status means.

    Args:
        status: of the answer, 300 or above.
        headers: whose names are looked up in lower case.
        content: the body.
        where: the address, for the message.
        model: that was asked, for the message.
    """
    said, codes = _reason(content)
    wait = retry_after(headers)
    scope, doubtful = _scope(status, said, codes, wait)
    headers_say = headers.get("x-should-retry", "")
    if scope is Scope.ATTEMPT and headers_say == "false":
        scope, doubtful = Scope.REQUEST, True
    meaning = f"answered {status}"
    if scope is Scope.RUN:
        meaning = {
            401: "refuses the key (401)",
            403: "refuses the key, or what it may do (403)",
            404: f"knows no model {model!r}, or is not the address of an API (404)",
            407: "is behind a proxy that wants a password (407)",
        }.get(status, f"answered {status} for the model {model!r}")
    if 300 <= status < 400:
        meaning = f"is elsewhere ({status})"
        said = f"give {headers.get('location', 'that address')} as base_url"
    said = said or "no reason given"
    return RequestError(
        f"{where} {meaning}: {excerpt(said, 300)}",
        scope,
        status=status,
        said=said,
        codes=frozenset(codes),
        wait=wait,
        doubtful=doubtful,
        too_long=scope is Scope.REQUEST and (status == 413 or bool(_TOO_LONG.search(f"{said} {codes}"))),
    )


def _scope(status: int, said: str, codes: set[str], wait: float | None) -> tuple[Scope, bool]:
    """Return what a refusal means, and whether that is in doubt."""
    text = " ".join([said, *codes])
    # Google answers to passing load with OpenAI's words for a spent account.
    spent = bool(_SPENT_QUOTA.search(said)) and wait is None and "resource_exhausted" not in codes
    if codes & _NO_MONEY_CODES or status == 402 or _NO_MONEY.search(text) or (status == 429 and spent):
        return Scope.RUN, False
    if status == 401:
        return Scope.RUN, False
    if status in (413, 451) or (_TOO_LARGE_FOR_A_RATE if status == 429 else _TOO_LONG).search(text):
        return Scope.REQUEST, False
    if status not in _PASSING and status != 404 and status < 500 and _FILTERED.search(text):
        # A firewall says "blocked", of a text or of whoever asks.
        return Scope.REQUEST, status == 403
    if status in _FINAL or status < 400:
        return Scope.RUN, False
    if status in _PASSING or status >= 500:
        return Scope.ATTEMPT, False
    return Scope.REQUEST, True


def _reason(content: bytes) -> tuple[str, set[str]]:
    """Return what a server says in the body of a refusal, and the codes in it, in lower case.

    OpenAI calls it message and FastAPI detail; Google puts it into a list, Azure a second code into the first error.
    """
    try:
        found = parse_json(content)
    except ValueError:
        return content[:2000].decode("utf-8", "replace").strip(), set()
    found = found[0] if isinstance(found, list) and found else found
    if not isinstance(found, dict):
        return str(found)[:2000], set()
    error = found.get("error")
    inner = error if isinstance(error, dict) else found
    nested = inner.get("innererror")
    places = [found, inner, nested if isinstance(nested, dict) else {}]
    names = ("code", "type", "status", "param")
    codes = {str(place[name]).lower() for place in places for name in names if place.get(name)}
    said = inner.get("message") or inner.get("detail") or (error if isinstance(error, str) else None)
    return str(said or content[:2000].decode("utf-8", "replace"))[:2000], codes


def retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Return the seconds that a server asks to wait: in milliseconds, in seconds or until a date; None for nothing.

    Args:
        headers: whose names are looked up in lower case.
        now: seconds since 1970; by default the server's clock where it sends its date, or else ours.
    """
    for name, unit in (("retry-after-ms", 1000.0), ("x-ms-retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            asked = float(headers[name]) / unit
        except (KeyError, ValueError):
            continue
        return asked if math.isfinite(asked) and asked >= 0 else None
    until = _seconds_of(headers.get("retry-after"))
    if until is None:
        return None
    if now is None:
        clock = _seconds_of(headers.get("date"))
        now = time.time() if clock is None else clock
    return max(0.0, until - now)


def _seconds_of(date: str | None) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(date or "").timestamp()
    except (TypeError, ValueError, OverflowError, IndexError, OSError):
        return None


def parse_json(content: bytes) -> Any:
    """Read JSON of a stranger, or raise `ValueError`, whatever is wrong with it.

    What it returns is nested so little that it can be shown.
    """
    try:
        found = json.loads(content)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"it is no JSON ({error})") from None
    level = [found]
    for _ in range(_DEEPEST):
        within = [one.values() if isinstance(one, dict) else one for one in level if isinstance(one, (dict, list))]
        level = [child for children in within for child in children if isinstance(child, (dict, list))]
        if not level:
            return found
    raise ValueError("it is nested too deeply")
