"""Addresses and keys: what cannot work is said before anything is asked."""

from __future__ import annotations

import pickle

import pytest

from genrlhf.errors import ConfigError
from genrlhf.openai_client.address import redactor
from genrlhf.openai_client.client import OpenAIClient

KEY = "sk-very-secret-0123456789"


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("localhost:8000/v1", r"does not begin with http:// or https://; did you mean http://localhost:8000/v1\?"),
        ("api.example.com/v1", r"did you mean http://api\.example\.com/v1\?"),
        ("ftp://x/v1", r"did you mean http://x/v1\?"),
        ("http://", "does not begin with http://"),
        ("http:///v1", "does not begin with http://"),
        ("http://x:99999/v1", "is no address"),
        ("http://x:port/v1", "is no address"),
        ("http://[::1/v1", "is no address"),
        ("http://a b/v1", "has a blank in it"),
        ("http://x/v1/chat/completions", "must end before /chat/completions"),
        ("http://x/v1/embeddings/", "must end before /embeddings"),
        ("https://r.openai.azure.com", r"is Azure's, and has to be https://r\.openai\.azure\.com/openai/v1 or"),
        ("https://r.openai.azure.com/openai", "is Azure's"),
    ],
)
def test_addresses_that_cannot_work(url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        OpenAIClient(base_url=url, api_key=KEY)
    with_password = url.replace("//", "//me:hush@")
    with pytest.raises(ConfigError) as raised:
        OpenAIClient(base_url=with_password, api_key=KEY)
    assert "hush" not in str(raised.value) and KEY not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        (None, "https://api.openai.com/v1"),
        ("http://127.0.0.1:8000/v1/", "http://127.0.0.1:8000/v1"),
        (" http://LocalHost/v1 ", "http://localhost/v1"),
        ("https://me:pass@host/v1?api-version=1", "https://host/v1"),
        ("https://r.openai.azure.com/openai/v1/", "https://r.openai.azure.com/openai/v1"),
        (
            "https://r.openai.azure.com/openai/deployments/d?api-version=2",
            "https://r.openai.azure.com/openai/deployments/d",
        ),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1"),
    ],
)
def test_what_an_endpoint_is_called(url: str | None, address: str) -> None:
    assert OpenAIClient(base_url=url, api_key=KEY).address == address


@pytest.mark.parametrize("key", ["sk-a b", "sk-a\nb", "sk-ä", "sk-\x00"])
def test_keys_that_no_header_can_hold(key: str) -> None:
    with pytest.raises(ConfigError, match="has a blank, a line end or a character beyond ASCII") as raised:
        OpenAIClient(base_url="http://x/v1", api_key=key)
    assert key not in str(raised.value)
    OpenAIClient(base_url="http://x/v1", api_key=f" {KEY}\n")


@pytest.mark.parametrize("url", [None, "https://r.openai.azure.com/openai/v1"])
def test_no_key_where_one_is_needed(url: str | None) -> None:
    with pytest.raises(ConfigError, match="There is no key for https://.*; set OPENAI_API_KEY"):
        OpenAIClient(base_url=url).check_key()
    OpenAIClient(base_url="http://localhost:1/v1").check_key()


def test_the_key_is_in_no_attribute_and_no_message() -> None:
    client = OpenAIClient(base_url="http://me:pa%20ss@x/v1", api_key=KEY)
    assert KEY not in repr(vars(client)) and KEY not in repr(client)
    assert client.redact(f"Bearer {KEY}; pa%20ss, pa ss") == "Bearer [key]; [password], [password]"
    assert client.redact_answer(f"it is {KEY}".encode()) == b"it is [key]"
    with pytest.raises(Exception, match="pickle|local object"):
        pickle.dumps(client)


def test_a_short_key_is_redacted_as_a_word_alone() -> None:
    assert redactor(["abc"], None)("abc, abcd, 'abc'") == "[key], abcd, '[key]'"
    assert redactor([], None)("none") == "none"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timeout": 0}, "timeout must be above 0"),
        ({"timeout": float("nan")}, "timeout must be above 0"),
        ({"timeout": float("inf")}, "timeout must be above 0"),
        ({"max_retries": -1}, "max_retries must be 0 or more"),
        ({"largest_answer": 0}, "largest_answer must be at least 1"),
    ],
)
def test_bad_settings(options: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        OpenAIClient(base_url="http://x/v1", **options)  # type: ignore[arg-type]
