"""Every text is embedded once, in memory and on disk."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from genrlhf.errors import ConfigError, ModelError
from genrlhf.metrics import Embedder, EmbeddingClasses, OpenAIEmbeddings, SentenceBERT, VendiScore
from genrlhf.metrics.diversity.embedding_cache import EmbeddingCache, model_key


class Letters:
    """Embeds a text by its letters and counts what it is asked."""

    def __init__(self, key: str | None = None) -> None:
        self.asked: list[str] = []
        if key is not None:
            self.cache_key = key

    def __call__(self, texts: list[str]) -> np.ndarray:
        self.asked += texts
        return np.array([[text.count(letter) + 0.25 for letter in "abcd"] for text in texts], dtype=np.float32)


def test_metrics_share_an_embedder() -> None:
    letters = Letters()
    embedder = Embedder(letters)
    sets = [["a", "b", "a"], ["b", "cc"]]
    for metric in (SentenceBERT(embedder), VendiScore(embedder)):
        metric.batch(sets)
    EmbeddingClasses(embedder)(sets)
    assert sorted(letters.asked) == ["a", "b", "cc"]


def test_a_second_run_with_the_cache_calls_no_encoder(tmp_path: Path) -> None:
    sets = [["a", "b"], ["a", "cc", "dé\ud800"]]
    first = Letters("letters")
    values = SentenceBERT(Embedder(first, cache=tmp_path)).batch(sets)
    second = Letters("letters")
    assert SentenceBERT(Embedder(second, cache=tmp_path)).batch([*sets, ["b", "cc"]])[:2] == values
    assert second.asked == []
    other = Letters("others")
    SentenceBERT(Embedder(other, cache=tmp_path)).batch(sets)
    assert len(other.asked) == len(first.asked) == 4


def test_the_cache_keeps_more_than_one_question_of_texts(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path / "new", "m")
    vectors = {f"text {i}": np.array([i, 0.5], dtype=np.float32) for i in range(1203)}
    cache.write(vectors)
    found = EmbeddingCache(tmp_path / "new", "m").read([*vectors, "unknown"])
    assert found.keys() == vectors.keys()
    assert all(np.array_equal(found[text], vector) for text, vector in vectors.items())


def test_caches_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a callable with a cache_key"):
        Embedder(Letters(), cache=tmp_path)
    (tmp_path / "embeddings.sqlite").write_bytes(b"no database, but quite long enough to look like a file of one" * 99)
    with pytest.raises(ConfigError, match="is no cache of embeddings"):
        Embedder(Letters("letters"), cache=tmp_path)


def test_the_key_of_a_folder_follows_its_files(tmp_path: Path) -> None:
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"abc")
    before = model_key(str(tmp_path))
    assert before == model_key(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"abd")
    assert model_key(str(tmp_path)) != before
    assert model_key("someone/never-downloaded") is None


class _Endpoint(BaseHTTPRequestHandler):
    requests: ClassVar[list[dict[str, Any]]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.requests.append({**body, "path": self.path})
        vectors = [[float(len(text)), 1.0] for text in body["input"]]
        data = [{"object": "embedding", "index": i, "embedding": vector} for i, vector in enumerate(vectors)]
        if body["model"] == "short":
            data = data[:-1]
        if getattr(self, "bad", None):
            data = self.bad.pop()
        # Servers may answer out of order.
        answer = {"object": "list", "model": body["model"], "data": data and data[::-1], "usage": {}}
        status = 400 if body["model"] == "refused" else 200
        payload = json.dumps({"error": {"message": "no such model"}} if status == 400 else answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_: Any) -> None:
        return None


@pytest.fixture
def endpoint() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Endpoint)
    _Endpoint.requests.clear()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


@pytest.mark.enable_socket
def test_embeddings_from_a_server(endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genrlhf.openai_client.session._LONGEST_PAUSE", 0.01)
    encoder = OpenAIEmbeddings("some-model", base_url=endpoint, api_key="secret", batch_size=2)
    assert encoder(["a", "", "ccc"]).tolist() == [[1, 1], [1, 1], [3, 1]]
    assert [(r["path"], r["model"], r["input"]) for r in _Endpoint.requests] == [
        ("/v1/embeddings", "some-model", ["a", " "]),
        ("/v1/embeddings", "some-model", ["ccc"]),
    ]
    assert "secret" not in encoder.cache_key and "some-model" in encoder.cache_key
    metric = SentenceBERT(Embedder(encoder, cache=tmp_path))
    assert metric(["a", "bb"]) == pytest.approx(1 - 3 / np.sqrt(10))
    assert b"secret" not in b"".join(path.read_bytes() for path in tmp_path.rglob("*"))
    with pytest.raises(ModelError, match="answered 1 of 2 texts"):
        OpenAIEmbeddings("short", base_url=endpoint, api_key="secret")(["a", "b"])
    with pytest.raises(ModelError, match="no such model") as raised:
        OpenAIEmbeddings("refused", base_url=endpoint, api_key="secret")(["a"])
    assert "secret" not in str(raised.value)


@pytest.mark.enable_socket
def test_bad_answers_of_an_embeddings_server_are_asked_for_again(
    endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genrlhf.openai_client.session._LONGEST_PAUSE", 0.01)
    bad: list[Any] = [[], [{"index": 0, "embedding": [10**400]}], [{"index": 0, "embedding": ["x"]}], [7], None]
    monkeypatch.setattr(_Endpoint, "bad", bad.copy(), raising=False)
    assert OpenAIEmbeddings("m", base_url=endpoint)(["cut \ud83d"]).tolist() == [[5, 1]]
    assert [request["input"] for request in _Endpoint.requests] == [["cut ?"]] * (len(bad) + 1)


def test_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ModelError, match="set OPENAI_API_KEY"):
        OpenAIEmbeddings()
