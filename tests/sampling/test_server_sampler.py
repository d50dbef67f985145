"""The sampler over a server, against a small local one that records what it is asked."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from genrlhf.errors import ConfigError, DataError, ModelError
from genrlhf.sampling.choose import sample_seeds
from genrlhf.sampling.server_sampler import ServerSampler
from genrlhf.types import Sample, Sampler, SamplingParams

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

PROMPTS = ["a", "bb", "ccc", "dddd", "eeeee"]
PARAMS = SamplingParams(max_new_tokens=6)
CHAT = [{"role": "user", "content": "hello"}]
KEY = "sk-very-secret-0123"


class Server:
    """Answers `<prompt>|<seed>`, after `delay` seconds; `answer` may return another (status, body).

    `requests` holds the path, the body and the key of every request, `most` the largest number in flight at a time.
    """

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, Any], str]] = []
        self.delay = 0.0
        self.most = 0
        self.answer: Callable[[str, dict[str, Any], int], tuple[int, Any]] = lambda path, body, _: (
            200,
            completion(path, text(body)),
        )
        self._in_flight = 0
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with outer._lock:
                    number = len(outer.requests)
                    outer.requests.append((self.path, body, self.headers["Authorization"]))
                    outer._in_flight += 1
                    outer.most = max(outer.most, outer._in_flight)
                time.sleep(outer.delay)
                status, content = outer.answer(self.path, body, number)
                with outer._lock:
                    outer._in_flight -= 1
                payload = content if isinstance(content, bytes) else json.dumps(content).encode()
                try:
                    self.send_response(status)
                    self.send_header("Content-Type", "text/html" if isinstance(content, bytes) else "application/json")
                    self.send_header("Content-Length", str(len(payload)))
                    self.send_header("Retry-After-Ms", "1")
                    self.end_headers()
                    self.wfile.write(payload)
                except OSError:
                    pass  # the client hung up, as it does on closing early

            def log_message(self, *args: Any) -> None:
                pass

        self.httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.httpd.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.httpd.server_address[1]}/v1"

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [body for _, body, _ in self.requests]


def text(body: dict[str, Any]) -> str:
    prompt = body["prompt"] if "prompt" in body else body["messages"][-1]["content"]
    return f"{prompt}|{body['seed']}"


def completion(
    path: str, said: str | None, *, finish_reason: str = "stop", tokens: int | None = 3, logprobs: Any = None
) -> dict[str, Any]:
    """Return the body of an answer in the form of OpenAI's API."""
    choice: dict[str, Any] = {"index": 0, "finish_reason": finish_reason, "logprobs": None}
    if path.endswith("/chat/completions"):
        choice["message"] = {"role": "assistant", "content": said}
        if logprobs is not None:
            choice["logprobs"] = {"content": [{"token": "t", "logprob": value} for value in logprobs]}
    else:
        choice["text"] = said
        if logprobs is not None:
            choice["logprobs"] = {"token_logprobs": logprobs, "tokens": ["t"] * len(logprobs)}
    body: dict[str, Any] = {"id": "x", "object": "text_completion", "created": 0, "model": "m", "choices": [choice]}
    if tokens is not None:
        body["usage"] = {"prompt_tokens": 1, "completion_tokens": tokens, "total_tokens": 1 + tokens}
    return body


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    # The client is slower to notice a shutdown that is polled for seldom.
    thread = threading.Thread(target=made.httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield made
    made.httpd.shutdown()
    made.httpd.server_close()


@pytest.fixture(autouse=True)
def no_key_in_the_environment_and_short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genrlhf.openai_client.session._LONGEST_PAUSE", 0.02)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def sampler(server: Server, **settings: Any) -> ServerSampler:
    return ServerSampler("m", base_url=server.url, **{"max_retries": 0, **settings})


def expected(seed: int, n: int) -> list[list[str]]:
    return [
        [f"{prompt}|{chosen % 2**31}" for chosen in sample_seeds(seed, [row], n)] for row, prompt in enumerate(PROMPTS)
    ]


def test_texts_come_in_the_order_of_prompts_and_samples(server: Server) -> None:
    # The first requests are answered last.
    def answer(path: str, body: dict[str, Any], number: int) -> tuple[int, Any]:
        time.sleep(max(0.0, 0.1 - 0.01 * number))
        return 200, completion(path, text(body))

    server.answer = answer
    made = sampler(server)
    assert isinstance(made, Sampler)
    assert made.sample(PROMPTS, 2, PARAMS, seed=5) == expected(5, 2)
    assert len(server.requests) == 10
    assert made.sample([], 2, PARAMS, seed=5) == []


def test_every_sample_has_a_seed_of_its_own_that_depends_on_row_and_number_alone(server: Server) -> None:
    made = sampler(server, concurrency=3)
    whole = dict(made.stream(PROMPTS, 3, PARAMS, 7))
    seeds = [body["seed"] for body in server.bodies]
    assert len(set(seeds)) == 15
    assert all(0 <= seed < 2**31 for seed in seeds)
    rest = dict(made.stream(PROMPTS, 3, PARAMS, 7, done={0, 2, 3}))
    assert rest == {1: whole[1], 4: whole[4]}
    assert len(server.requests) == 15 + 6
    moved = dict(made.stream([PROMPTS[4], PROMPTS[1]], 3, PARAMS, 7, rows=[4, 1]))
    assert moved == {0: whole[4], 1: whole[1]}
    assert dict(made.stream(PROMPTS, 3, PARAMS, 8)) != whole


@pytest.mark.parametrize("concurrency", [1, 4])
def test_no_more_requests_than_allowed_are_in_flight(server: Server, concurrency: int) -> None:
    together = threading.Barrier(concurrency)

    def answer(path: str, body: dict[str, Any], number: int) -> tuple[int, Any]:
        if number < concurrency:
            together.wait(10)
        return 200, completion(path, text(body))

    server.delay, server.answer = 0.03, answer
    made = sampler(server, concurrency=concurrency)
    assert made.sample(PROMPTS, 2, PARAMS, seed=0) == expected(0, 2)
    assert server.most == concurrency


def test_prompts_are_read_as_requests_go_out(server: Server) -> None:
    class Endless(list[str]):
        read: ClassVar[set[int]] = set()

        def __len__(self) -> int:
            return 10**9

        def __getitem__(self, place: Any) -> Any:
            self.read.add(place)
            return "x"

    made = sampler(server, concurrency=2)
    stream = made.stream(Endless(), 1, PARAMS, seed=0)
    next(stream)
    stream.close()
    assert max(Endless.read) < 1000


def test_closing_early_cancels_what_is_in_flight(server: Server) -> None:
    def answer(path: str, body: dict[str, Any], number: int) -> tuple[int, Any]:
        time.sleep(0 if body["prompt"] == PROMPTS[0] else 5)
        return 200, completion(path, text(body))

    server.answer = answer
    stream = sampler(server, concurrency=2).stream(PROMPTS, 1, PARAMS, seed=0)
    assert next(stream)[0] == 0
    assert any(thread.name == "ServerSampler" for thread in threading.enumerate())
    started = time.monotonic()
    stream.close()
    assert time.monotonic() - started < 2
    assert not any(thread.name == "ServerSampler" for thread in threading.enumerate())
    assert len(server.requests) <= 3
    assert list(stream) == []


def test_it_works_inside_a_running_event_loop(server: Server) -> None:

    async def main() -> list[list[str]]:
        return sampler(server).sample(PROMPTS, 1, PARAMS, seed=0)

    assert asyncio.run(main()) == expected(0, 1)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_passing_failures_are_tried_again(server: Server, status: int) -> None:
    def answer(path: str, body: dict[str, Any], number: int) -> tuple[int, Any]:
        return (status, {"error": {"message": "busy"}}) if number < 2 else (200, completion(path, text(body)))

    server.answer = answer
    assert sampler(server, max_retries=2, concurrency=1).sample(["a"], 1, PARAMS, seed=5) == [[expected(5, 1)[0][0]]]
    assert len(server.requests) == 3
    assert len({body["seed"] for body in server.bodies}) == 1


def test_failures_that_stay_are_reported(server: Server) -> None:
    server.answer = lambda path, body, number: (500, {"error": {"message": "CUDA is gone"}})
    with pytest.raises(ModelError, match=r"row 0: the prompt 'a'.* answered 500: 'CUDA is gone'.*Lower concurrency"):
        sampler(server, max_retries=1).sample(["a"], 1, PARAMS, seed=0)
    assert len(server.requests) == 2


def test_what_was_complete_before_a_failure_is_yielded(server: Server) -> None:
    server.answer = lambda path, body, number: (
        (200, completion(path, text(body))) if number < 2 else (400, {"error": {"message": "no"}})
    )
    found = []
    with pytest.raises(ModelError, match="row 12: the prompt 'ccc'"):
        for place, _ in sampler(server, concurrency=1).stream(PROMPTS, 1, PARAMS, 0, rows=range(10, 15)):
            found.append(place)
    assert found == [0, 1]


def test_unknown_model(server: Server) -> None:
    server.answer = lambda *_: (404, {"error": {"message": "The model `m` does not exist.", "code": 404}})
    with pytest.raises(
        ModelError, match=r"row 0: .* knows no model 'm', or is not .* \(404\): 'The model `m` does not exist"
    ) as e:
        sampler(server, max_retries=3).sample(["a"], 1, PARAMS, seed=0)
    assert server.url in str(e.value)
    assert "that the server has this model under this name" in str(e.value)
    assert len(server.requests) == 1


def test_unknown_field_as_transformers_serve_reports_it(server: Server) -> None:
    server.answer = lambda *_: (422, {"detail": "Unexpected fields in the request: {'top_k'}"})
    with pytest.raises(
        ModelError, match=r"answered 422: .*Unexpected fields.*top_k.*switch off the sampling parameter"
    ):
        sampler(server).sample(["a"], 1, SamplingParams(top_k=3), seed=0)


def test_prompt_beyond_the_context_is_the_prompts_fault(server: Server) -> None:
    said = "This model's maximum context length is 64 tokens. However, your prompt contains 99."
    server.answer = lambda path, body, _: (
        (400, {"error": {"message": said}}) if len(body["prompt"]) > 4 else (200, completion(path, text(body)))
    )
    with pytest.raises(DataError, match=r"row 4: the prompt 'eeeee'.*maximum context length is 64.*lower max_new_tok"):
        sampler(server).sample(PROMPTS, 1, PARAMS, seed=0)


def test_refused_connection(server: Server) -> None:
    made = sampler(server)
    server.httpd.server_close()
    with pytest.raises(ModelError, match=r"row 0: the prompt 'a': http://127\.0\.0\.1:\d+/v1 cannot be reached") as e:
        made.sample(["a"], 1, PARAMS, seed=0)
    assert "the server is running" in str(e.value)


def test_time_out(server: Server) -> None:
    server.delay = 1.0
    with pytest.raises(ModelError, match=r"row 0: .* did not answer in time, which is 0.1 s; raise timeout"):
        sampler(server, timeout=0.1).sample(["a"], 1, PARAMS, seed=0)


def test_answer_that_is_no_completion(server: Server) -> None:
    server.answer = lambda *_: (200, b"<html>welcome</html>")
    with pytest.raises(ModelError, match=r"row 0: .* sent something that is no answer .*welcome.*; check base_url"):
        sampler(server).sample(["a"], 1, PARAMS, seed=0)


def test_key_is_sent_and_shown_nowhere(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.answer = lambda *_: (401, {"error": {"message": f"Incorrect API key provided: {KEY}."}})
    made = sampler(server, api_key=KEY)
    with pytest.raises(
        ModelError, match="refuses the key .*Incorrect API key provided.*check OPENAI_API_KEY, or api_key"
    ) as e:
        made.sample(["a"], 1, PARAMS, seed=0)
    assert server.requests[0][2] == f"Bearer {KEY}"
    shown = "".join(str(x) for x in (e.value, repr(e.value), e.value.__cause__, made, vars(made)))
    assert "secret" not in shown
    monkeypatch.setenv("OPENAI_API_KEY", "from-the-environment")
    for settings in ({}, {"api_key": KEY}):
        with pytest.raises(ModelError):
            sampler(server, **settings).sample(["a"], 1, PARAMS, seed=0)
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(ModelError):
        sampler(server).sample(["a"], 1, PARAMS, seed=0)
    assert [key for _, _, key in server.requests[1:]] == ["Bearer from-the-environment", f"Bearer {KEY}", "Bearer none"]


def test_password_in_the_url_is_not_shown() -> None:
    made = ServerSampler("m", base_url="http://me:pass@127.0.0.1:1/v1", max_retries=0)
    with pytest.raises(ModelError, match=r"http://127\.0\.0\.1:1/v1 cannot") as e:
        made.sample(["a"], 1, PARAMS, seed=0)
    assert "pass@" not in str(e.value)


def test_defaults_are_the_fields_that_every_server_knows(server: Server) -> None:
    sampler(server).sample(["a", CHAT], 1, PARAMS, seed=0)
    by_path = {path: body for path, body, _ in server.requests}
    text_body, chat_body = by_path["/v1/completions"], by_path["/v1/chat/completions"]
    common = {"model": "m", "max_tokens": 6, "temperature": 1.0, "top_p": 1.0}
    assert text_body == {**common, "prompt": "a", "seed": text_body["seed"]}
    assert chat_body == {**common, "messages": CHAT, "seed": chat_body["seed"]}


def test_all_parameters_are_sent(server: Server) -> None:
    server.answer = lambda path, body, _: (200, completion(path, "x", logprobs=[-1.0]))
    params = SamplingParams(
        max_new_tokens=9,
        min_new_tokens=2,
        temperature=0.7,
        top_k=5,
        top_p=0.9,
        min_p=0.1,
        repetition_penalty=1.2,
        stop=("\n", "###"),
        logprobs=True,
    )
    sampler(server, extra_body={"top_k": -1, "add_special_tokens": False}).sample(["a", CHAT], 1, params, seed=0)
    for path, body, _ in server.requests:
        sent = {name: value for name, value in body.items() if name not in ("model", "prompt", "messages", "seed")}
        assert sent == {
            "max_tokens": 9,
            "min_tokens": 2,
            "temperature": 0.7,
            "top_k": 5,
            "top_p": 0.9,
            "min_p": 0.1,
            "repetition_penalty": 1.2,
            "stop": ["\n", "###"],
            "logprobs": True if path.endswith("/chat/completions") else 1,
            "add_special_tokens": False,
        }


def test_one_stop_string_is_sent_as_a_string_and_extra_fields_stand_where_nothing_else_does(server: Server) -> None:
    extra = {"top_k": -1, "temperature": 0.1}
    sampler(server, extra_body=extra).sample(["a"], 1, SamplingParams(stop=("\n",), temperature=0.5), seed=0)
    body = server.bodies[0]
    assert (body["stop"], body["top_k"], body["temperature"]) == ("\n", -1, 0.5)


@pytest.mark.parametrize("prompt", ["a", CHAT])
def test_samples_hold_what_the_server_says(server: Server, prompt: Any) -> None:
    server.answer = lambda path, body, _: (
        200,
        completion(path, "said", finish_reason="length", tokens=2, logprobs=[-0.5, -1.5]),
    )
    params = SamplingParams(max_new_tokens=2, logprobs=True)
    assert list(sampler(server).stream([prompt], 1, params, 0)) == [(0, [Sample("said", "length", 2, [-0.5, -1.5])])]
    assert list(sampler(server).stream([prompt], 1, PARAMS, 0)) == [(0, [Sample("said", "length", 2)])]


@pytest.mark.parametrize("prompt", ["a", CHAT])
@pytest.mark.parametrize("said", ["", None])
def test_empty_text_is_a_completion(server: Server, prompt: Any, said: str | None) -> None:
    server.answer = lambda path, body, _: (200, completion(path, said, tokens=1))
    assert list(sampler(server).stream([prompt], 1, PARAMS, 0)) == [(0, [Sample("", "stop", 1)])]


@pytest.mark.parametrize("prompt", ["a", CHAT])
@pytest.mark.parametrize("given", [None, [-1.0, None]])
def test_missing_logprobs(server: Server, prompt: Any, given: Any) -> None:
    server.answer = lambda path, body, _: (200, completion(path, "x", logprobs=given))
    with pytest.raises(ModelError, match=r"row 0: .* returned no log-probabilities; set logprobs=False"):
        sampler(server).sample([prompt], 1, SamplingParams(logprobs=True), seed=0)


def test_missing_usage(server: Server) -> None:
    server.answer = lambda path, body, _: (200, completion(path, "x", tokens=None, logprobs=[-1.0] * 4))
    params = SamplingParams(logprobs=True)
    assert dict(sampler(server).stream(["a"], 1, params, 0))[0][0].num_tokens == 4
    server.answer = lambda path, body, _: (200, completion(path, "x", tokens=None))
    with pytest.raises(ModelError, match=r"row 0: .* returned no usage\.completion_tokens; set logprobs=True"):
        sampler(server).sample(["a"], 1, PARAMS, seed=0)


@pytest.mark.parametrize("reason", ["content_filter", "tool_calls", None])
def test_other_ends_are_refused(server: Server, reason: Any) -> None:
    server.answer = lambda path, body, _: (200, completion(path, "x", finish_reason=reason))
    with pytest.raises(ModelError, match=rf"row 0: the prompt '?\[?.* with finish_reason '?{reason}'?, and samples"):
        sampler(server).sample([CHAT], 1, PARAMS, seed=0)


def test_text_is_cut_at_the_first_stop_string_that_the_server_left(server: Server) -> None:
    server.answer = lambda path, body, _: (200, completion(path, "one. two\nthree", finish_reason="length"))

    def drawn(**settings: Any) -> Sample:
        return dict(sampler(server).stream(["a"], 1, SamplingParams(**settings), 0))[0][0]

    assert drawn(stop=("\n", ".")) == Sample("one", "stop", 3)
    assert drawn(stop=("\n",)) == Sample("one. two", "stop", 3)
    assert drawn(stop=("#",)) == Sample("one. two\nthree", "length", 3)
    # An early stop string may stand in the text, and which one ended it is for the server to say.
    assert drawn(stop=(".",), min_new_tokens=3) == Sample("one. two\nthree", "length", 3)


def test_settings_are_checked(server: Server) -> None:
    for name, value in (("concurrency", 0), ("timeout", 0), ("max_retries", -1)):
        with pytest.raises(ConfigError, match=f"{name} must be .*, not {value}"):
            sampler(server, **{name: value})
    with pytest.raises(ConfigError, match="n, the samples of a prompt, must be at least 1, not 0"):
        sampler(server).sample(PROMPTS, 0, PARAMS, seed=0)


def test_answers_that_are_none_are_tried_again(server: Server) -> None:
    bad = [b"<html>", b"[" * 100_000, b"[]", b"{}", {"choices": []}, {"choices": [{}]}, {"error": {"message": "down"}}]

    def answer(path: str, body: dict[str, Any], number: int) -> tuple[int, Any]:
        return 200, bad[number] if number < len(bad) else completion(path, text(body))

    server.answer = answer
    made = sampler(server, max_retries=len(bad), concurrency=1)
    assert made.sample(["a"], 1, PARAMS, seed=5) == [[expected(5, 1)[0][0]]]
    assert len(server.requests) == len(bad) + 1


@pytest.mark.parametrize("tokens", [10**30, -1, "many", 1.5, True])
def test_counts_that_are_none_are_not_taken(server: Server, tokens: Any) -> None:
    server.answer = lambda path, body, _: (
        200,
        {**completion(path, "x", logprobs=[-1.0, -2.0]), "usage": {"completion_tokens": tokens}},
    )
    assert dict(sampler(server).stream(["a"], 1, PARAMS, 0))[0][0].num_tokens == 2


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_samples_that_are_thoughts_alone_are_counted_and_said(
    server: Server, field: str, caplog: pytest.LogCaptureFixture
) -> None:
    def answer(path: str, body: dict[str, Any], number: int) -> tuple[int, Any]:
        found = completion(path, "x" if number == 0 else None, finish_reason="length")
        found["choices"][0]["message"][field] = "let me think"
        return 200, found

    server.answer = answer
    made = sampler(server, concurrency=1)
    assert made.sample([CHAT], 4, PARAMS, seed=0) == [["x", "", "", ""]]
    assert "3 of 4 samples are empty, for the model spent their tokens on thinking" in caplog.text
    server.requests.clear()
    made.sample([CHAT], 12, PARAMS, seed=0)
    server.answer = lambda path, body, number: answer(path, body, number + 1)
    server.requests.clear()
    with pytest.raises(ModelError, match="all of the first 8 samples are empty, .* raise max_new_tokens"):
        made.sample([CHAT], 12, PARAMS, seed=0)
    assert len(server.requests) <= 9


def test_halves_of_characters_are_made_whole(server: Server) -> None:
    sampler(server).sample(["cut \ud83d"], 1, PARAMS, seed=0)
    assert server.bodies[0]["prompt"] == "cut ?"
