"""The requests of one run: attempts that end in time, what their failures mean, and when another one is made."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import openai

from genrlhf.errors import excerpt
from genrlhf.openai_client.address import has_proxy
from genrlhf.openai_client.failures import RequestError, Scope, parse_json, refusal

if TYPE_CHECKING:
    from genrlhf.openai_client.client import OpenAIClient

__all__ = ["Session"]

T = TypeVar("T")

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 60.0
_LONGEST_PAUSE_ASKED_FOR = 120.0
_TRIES_OF_A_DEAD_ADDRESS = 3
_DOUBTFUL_REFUSALS = 3
_FORBIDDEN_IN_A_ROW = 10
_LOST_REQUESTS, _LOST_REQUESTS_OF_A_GOOD_SERVER = 3, 10
_LOST_ATTEMPTS = 20


class Session:
    """The requests of one run.

    Attributes:
        attempts: requests sent.
        answers: requests that were answered.
        known_good: whether the server has answered such requests, in this run or before.
        last_failure: the latest one, None before any.
        dead: nobody listens at the address, so that requests in flight have not arrived.
    """

    def __init__(self, client: OpenAIClient, http: openai.AsyncOpenAI, *, known_good: bool) -> None:
        self.client = client
        self.known_good = known_good
        self.attempts = 0
        self.answers = 0
        self.last_failure: RequestError | None = None
        self.dead = False
        self._create = {
            "chat/completions": http.chat.completions.with_raw_response.create,
            "completions": http.completions.with_raw_response.create,
            "embeddings": http.embeddings.with_raw_response.create,
        }
        self._reached = False
        self._doubtful = 0
        self._forbidden = 0
        self._lost_requests = 0
        self._lost_attempts = 0
        self._not_before = 0.0

    async def post(self, path: str, body: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
        """Make one attempt at a request and return the JSON object that is its answer, and how many bytes it took.

        Args:
            path: "chat/completions", "completions" or "embeddings".
            body: of the request. Halves of characters, which no JSON can carry, are replaced; fields that are None are
                left out.

        Raises:
            RequestError: there is no such answer.
        """
        self.attempts += 1
        fields = _whole({name: value for name, value in body.items() if value is not None})
        needed = {name: fields.pop(name) for name in ("model", "messages", "prompt", "input") if name in fields}
        create: Any = self._create[path]
        try:
            sent = create(**needed, extra_body=fields, extra_headers={"Accept": "application/json"})
            answer = await asyncio.wait_for(sent, self.client.timeout)
        except Exception as error:
            failure = self._explain(error, str(needed.get("model")))
            self._reached = self._reached or not failure.unreachable
            # Without its cause, whose request holds the key and whose text may repeat it.
            raise failure from None
        self._reached = True
        return self._object(answer.content, answer.headers, str(needed.get("model"))), len(answer.content)

    async def ask(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Call `attempt` until it returns; what it raises decides whether, and when, it is called again.

        Raises:
            RequestError: of the scope REQUEST where this request stays unanswered, or RUN where all would.
        """
        answers, tries = self.answers, 0
        while True:
            await self._wait()
            tries += 1
            try:
                found = await attempt()
            except RequestError as failure:
                self.last_failure = failure
                pause = self._weigh(failure, tries, others_answered=self.answers > answers)
            else:
                self.answers += 1
                self.known_good = True
                self._doubtful = self._forbidden = self._lost_requests = self._lost_attempts = 0
                return found
            await asyncio.sleep(pause)

    @property
    def refusal_of_all(self) -> RequestError | None:
        """Why a run that ended without any answer has none, where that may be no fault of its requests."""
        failed = self.last_failure
        lost = self._doubtful or self._lost_requests
        return failed if failed is not None and lost and not self.known_good else None

    def _weigh(self, failure: RequestError, tries: int, *, others_answered: bool) -> float:
        """Return how long to wait before the next attempt, or raise the failure for what it is."""
        # After good answers one that is forbidden may be the request's own, such as a filter's; many are the key's.
        forbidden = failure.scope is Scope.RUN and failure.status == 403 and self.known_good
        self._forbidden += forbidden
        if failure.scope is Scope.RUN and (not forbidden or self._forbidden >= _FORBIDDEN_IN_A_ROW):
            raise failure
        if failure.scope is Scope.REQUEST or forbidden:
            self._doubtful += failure.doubtful
            failure.scope = Scope.REQUEST
            if failure.doubtful and not self.known_good and self._doubtful >= _DOUBTFUL_REFUSALS:
                failure.scope = Scope.RUN
            raise failure
        self._lost_attempts += 1
        if failure.wait is not None and failure.wait > _LONGEST_PAUSE_ASKED_FOR:
            failure.scope = Scope.RUN
            failure.args = (f"{failure}; the server asks to wait {failure.wait:.0f} s before the next request",)
            raise failure
        dead = failure.unreachable and not others_answered
        if tries > self.client.max_retries or (dead and not self._reached and tries >= _TRIES_OF_A_DEAD_ADDRESS):
            self._lost_requests += 1
            enough = _LOST_REQUESTS_OF_A_GOOD_SERVER if self.known_good else _LOST_REQUESTS
            barren = self._lost_requests >= enough and self._lost_attempts >= _LOST_ATTEMPTS
            failure.scope = Scope.RUN if dead or barren else Scope.REQUEST
            failure.given_up = True
            self.dead = dead and not self._reached
            if tries > 1:
                failure.args = (f"{failure} ({tries} attempts)",)
            raise failure
        pause: float = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(tries - 1, 20)) * random.uniform(0.5, 1.0)
        if failure.wait is None:
            return pause
        if failure.wait > 0:
            # What is asked of one is asked of all.
            self._not_before = max(self._not_before, asyncio.get_running_loop().time() + failure.wait)
        return max(pause, failure.wait * random.uniform(1.0, 1.1))

    async def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        while (left := self._not_before - loop.time()) > 0:
            await asyncio.sleep(left + random.uniform(0.0, 0.05))

    def _explain(self, error: Exception, model: str) -> RequestError:
        where = self.client.address
        if isinstance(error, openai.APIConnectionError) and isinstance(error.__cause__, Exception):
            # The official client wraps what its connection raises; our own errors from there mean more.
            error = error.__cause__
        if isinstance(error, RequestError):
            return RequestError(f"{where} {error}", error.scope, may_be_billed=error.may_be_billed)
        if isinstance(error, openai.APIStatusError):
            content = self.client.redact(error.response.content.decode("utf-8", "replace")).encode()
            return self._named(refusal(error.status_code, error.response.headers, content, where=where, model=model))
        cause = excerpt(self.client.redact(f"{error}" or type(error).__name__), 200)
        name = type(error).__name__
        if isinstance(error, (openai.APITimeoutError, asyncio.TimeoutError, TimeoutError)) or "Timeout" in name:
            unreachable = name in ("ConnectTimeout", "PoolTimeout")
            return RequestError(
                f"{where} did not answer in time, which is {self.client.timeout:g} s",
                Scope.ATTEMPT,
                may_be_billed=not unreachable,
                unreachable=unreachable,
                timed_out=True,
            )
        if _speaks_no_tls(error):
            return RequestError(f"{where} cannot be trusted: {cause}; check http or https", Scope.RUN)
        if name in ("ConnectError", "ProxyError"):
            through = ", through the proxy that the environment names" if has_proxy(where) else ""
            return RequestError(f"{where} cannot be reached{through} ({cause})", Scope.ATTEMPT, unreachable=True)
        if name in ("UnsupportedProtocol", "LocalProtocolError", "InvalidURL") or isinstance(
            error, (TypeError, ValueError)
        ):
            # The request is none: a setting is no JSON, say.
            return RequestError(f"{where} cannot be asked: {cause}", Scope.RUN)
        return RequestError(f"{where} broke off ({name}: {cause})", Scope.ATTEMPT, may_be_billed=True)

    def _named(self, failure: RequestError) -> RequestError:
        """Add what to do about a refusal."""
        remedy = {
            401: "check OPENAI_API_KEY, or api_key" if self.client.has_key else "no key was sent: set OPENAI_API_KEY",
            404: "check base_url, which often ends in /v1, and that the server has this model under this name",
        }.get(failure.status or 0)
        if remedy and failure.scope is Scope.RUN:
            failure.args = (f"{failure}; {remedy}",)
        return failure

    def _object(self, content: bytes, headers: Mapping[str, str], model: str) -> dict[str, Any]:
        content = self.client.redact_answer(content)
        try:
            found = parse_json(content)
            if not isinstance(found, dict):
                raise ValueError("it is no object")
        except ValueError as error:
            shown = excerpt(self.client.redact(content[:2000].decode("utf-8", "replace")), 80)
            raise RequestError(
                f"{self.client.address} sent something that is no answer of OpenAI's API: {error}: {shown}; check "
                "base_url, which often ends in /v1",
                Scope.ATTEMPT,
                may_be_billed=True,
            ) from None
        failed = found.get("error")
        if failed and not found.get("choices") and not found.get("data"):
            # Routers report the failure of the server behind them in an answer that is fine.
            code = failed.get("code") if isinstance(failed, dict) else None
            status = code if isinstance(code, int) and 400 <= code < 600 else 500
            text = self.client.redact(content.decode("utf-8", "replace")).encode()
            raise self._named(refusal(status, headers, text, where=self.client.address, model=model))
        return found


def _whole(value: Any) -> Any:
    """Return JSON's values with a question mark for every half of a character."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, Mapping):
        return {_whole(name): _whole(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_whole(one) for one in value]
    return value


def _speaks_no_tls(error: BaseException) -> bool:
    """Say whether a connection failed because the server's certificate is not trusted, or it has none."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError) or "WRONG_VERSION_NUMBER" in str(cause):
            return True
        cause = cause.__cause__ or cause.__context__
    return False
