"""Answers on disk: kept under all that they depend on, claimed by one process at a time, billed once."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from genrlhf.errors import ConfigError
from genrlhf.metrics.preference import AnswerStore, ModelAnswer
from genrlhf.metrics.preference.judging import claims
from genrlhf.metrics.preference.judging.answer_store import Change

KEYS = [bytes([number]) * 32 for number in range(6)]
ANSWER = ModelAnswer("yes", 3, 4, [{"m": -0.5}, {}], ended=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "s.sqlite"


def sql(file: Path, statement: str) -> None:
    with closing(sqlite3.connect(file)) as database, database:
        database.execute(statement)


def test_answers_come_back_as_they_were(file: Path) -> None:
    store = AnswerStore(file)
    store.write(KEYS[0], "m", ANSWER)
    store.write(KEYS[1], "m\ud83d", ModelAnswer("cut \ud83d"))
    assert AnswerStore(file).read(KEYS) == {KEYS[0]: ANSWER, KEYS[1]: ModelAnswer("cut ?")}


def test_what_is_billed_without_an_answer_is_on_the_bill_alone(file: Path) -> None:
    store = AnswerStore(file)
    store.bill(KEYS[0], 10, 20)
    store.bill(KEYS[0], 1, 2)
    store.write(KEYS[0], "m", ANSWER)
    store.apply([Change(KEYS[1], "m", ANSWER), Change(KEYS[2], bill=(100, 200))])
    assert set(store.read(KEYS)) == {KEYS[0], KEYS[1]}
    assert store.total() == (2, 11 + 100 + 2 * 3, 22 + 200 + 2 * 4)


def test_keys_hold_the_endpoint_and_not_the_mark() -> None:
    from genrlhf.metrics.preference.judging.conversation import Conversation

    def key(content: str, mark: str = "", endpoint: str = "http://a/v1") -> bytes:
        message = {"role": "user", "content": content}
        return AnswerStore.key({"model": "m"}, Conversation([message], mark=mark), endpoint)

    assert key("<123> x", "123") == key("<456> x", "456") != key("<123> y", "123")
    assert key("x") != key("x", endpoint="http://b/v1")
    assert key("\ud83d") != key("?")


def test_a_claim_is_one_owners(file: Path) -> None:
    first, second = AnswerStore(file), AnswerStore(file)
    assert first.claim(KEYS[:3]) == ({}, KEYS[:3])
    assert first.claim(KEYS[:3]) == ({}, KEYS[:3])
    assert second.claim(KEYS[1:5]) == ({}, KEYS[3:5])
    first.write(KEYS[0], "m", ANSWER)
    first.apply([Change(KEYS[1])])
    # Nobody takes back what is not theirs.
    second.apply([Change(KEYS[2])])
    assert second.claim(KEYS[:3]) == ({KEYS[0]: ANSWER}, [KEYS[1]])


def test_a_claim_that_is_not_renewed_ends(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = AnswerStore(file), AnswerStore(file)
    first.claim(KEYS)
    now = time.time()
    monkeypatch.setattr(claims.time, "time", lambda: now + 50)
    assert first.renew() < 30
    monkeypatch.setattr(claims.time, "time", lambda: now + 100)
    assert second.claim(KEYS) == ({}, [])
    monkeypatch.setattr(claims.time, "time", lambda: now + 111)
    assert second.claim(KEYS) == ({}, KEYS)
    # The first has lost them, and takes none back.
    first.apply([Change(key) for key in KEYS])
    assert AnswerStore(file).claim(KEYS) == ({}, [])


@pytest.mark.skipif(os.name != "posix", reason="who is alive can be asked of POSIX systems alone")
def test_a_claim_ends_with_its_process(file: Path) -> None:
    code = "import sys; from genrlhf.metrics.preference import AnswerStore as S; S(sys.argv[1]).claim([b'0' * 32])"
    subprocess.run([sys.executable, "-c", code, str(file)], check=True, timeout=60)
    assert AnswerStore(file).claim([b"0" * 32]) == ({}, [b"0" * 32])


@pytest.mark.parametrize("owner", ["", "x", "a b c", "a -1 c", "a 1"])
def test_owners_that_nobody_knows_live_until_their_claims_end(file: Path, owner: str) -> None:
    store = AnswerStore(file)
    for until, ours in ((time.time() + 30, []), (time.time() - 1, [KEYS[0]])):
        sql(file, "DELETE FROM claims")
        sql(file, f"INSERT INTO claims VALUES (x'{KEYS[0].hex()}', '{owner}', {until})")
        assert store.claim(KEYS[:1]) == ({}, ours)


def test_a_store_of_an_older_version_is_refused_in_one_line(file: Path) -> None:
    file.parent.mkdir()
    columns = "key BLOB PRIMARY KEY, model TEXT, text TEXT, prompt_tokens, completion_tokens, top_logprobs"
    sql(file, f"CREATE TABLE answers ({columns})")
    with pytest.raises(
        ConfigError, match=r"is a store of answers of version 0, and this is version 2.*move it, or name"
    ):
        AnswerStore(file)
    file.unlink()
    AnswerStore(file)
    AnswerStore(file)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_store_that_cannot_be_written_is_named(file: Path) -> None:
    file.parent.mkdir()
    file.parent.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(ConfigError, match="cannot be used as a store of answers"):
        AnswerStore(file)


def test_a_folder_in_the_place_of_a_store_is_named(file: Path) -> None:
    file.mkdir(parents=True)
    with pytest.raises(ConfigError, match="cannot be used as a store of answers .*unable to open"):
        AnswerStore(file)


def test_a_database_of_something_else_is_left_as_it_is(file: Path) -> None:
    file.parent.mkdir()
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("CREATE TABLE places (id INTEGER, url TEXT)")
        database.execute("PRAGMA user_version = 77")
    before = file.read_bytes()
    with pytest.raises(ConfigError, match="is no store of answers, but a database of something else"):
        AnswerStore(file)
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    "damage",
    ["top_logprobs = '{not'", "top_logprobs = '5'", "top_logprobs = '[3]'", "text = x'ff00'", "prompt_tokens = 'many'"],
)
def test_a_damaged_answer_is_named(damage: str, file: Path) -> None:
    store = AnswerStore(file)
    store.write(b"k" * 32, "m", ModelAnswer("yes"))
    with closing(sqlite3.connect(file)) as database, database:
        database.execute(f"UPDATE answers SET {damage}")
    with pytest.raises(ConfigError, match="is a damaged store of answers"):
        store.read([b"k" * 32])


def test_a_claim_of_nobody_is_nobodys(file: Path) -> None:
    store = AnswerStore(file)
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("INSERT INTO claims VALUES (?, NULL, NULL)", (b"k" * 32,))
    assert store.claim([b"k" * 32]) == ({}, [b"k" * 32])
