"""Words, characters and scripts in many languages."""

from __future__ import annotations

import gzip
import json
import time
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nltk.tokenize import NLTKWordTokenizer

from genrlhf.scripts import script
from genrlhf.text import (
    characters,
    composed,
    count_words,
    ends_sentence,
    first_words,
    has_words,
    rouge_l,
    sentences,
    split_words,
    terms,
    words,
)
from tests.needs import DATA, DATA_WANTED

LANGUAGES: dict[str, tuple[str, str, list[str]]] = {
    "Latin": ("Latin", "The café's open, isn't it?", ["The", "café", "'s", "open", ",", "is", "n't", "it", "?"]),
    "Cyrillic": ("Cyrillic", "Да, пойдём гулять.", ["Да", ",", "пойдём", "гулять", "."]),
    "Greek": ("Greek", "Ο καιρός είναι καλός!", ["Ο", "καιρός", "είναι", "καλός", "!"]),
    "Arabic": ("Arabic", "كيف الطقس، اليوم؟", ["كيف", "الطقس", "،", "اليوم", "؟"]),
    "Hebrew": ("Hebrew", "צה״ל כאן, נכון?", ["צה״ל", "כאן", ",", "נכון", "?"]),
    "Devanagari": ("Devanagari", "यह अच्छा है। हाँ?", ["यह", "अच्छा", "है", "।", "हाँ", "?"]),
    "Bengali": ("Bengali", "আমি ভালো আছি।", ["আমি", "ভালো", "আছি", "।"]),
    "Tamil": ("Tamil", "நான் நலம்.", ["நான்", "நலம்", "."]),
    "Georgian": ("Georgian", "გამარჯობა, მსოფლიო!", ["გამარჯობა", ",", "მსოფლიო", "!"]),
    "Armenian": ("Armenian", "Բարև, ո՞ւր ես։", ["Բարև", ",", "ո՞ւր", "ես", "։"]),
    "Amharic": ("Ethiopic", "ሰላም፡ልዑል። እንዴት?", ["ሰላም", "ልዑል", "።", "እንዴት", "?"]),
    "Korean": ("Hangul", "한국어 문장입니다.", ["한국어", "문장입니다", "."]),
    "Chinese": ("Han", "今天好。「真的！」", ["今", "天", "好", "。", "「", "真", "的", "！", "」"]),
    "Japanese": ("Japanese", "今日はガ゙、ﾃﾞｽ。", ["今", "日", "は", "ガ゙", "、", "ﾃﾞ", "ｽ", "。"]),
    "Thai": ("Thai", "วันนี้ ๑๒ น้ำ", ["วั", "น", "นี้", "๑๒", "น้ำ"]),
    "Lao": ("Lao", "ສະບາຍດີ", ["ສ", "ະ", "ບ", "າ", "ຍ", "ດີ"]),
    "Khmer": ("Khmer", "ខ្មែរ។", ["ខ្មែ", "រ", "។"]),
    "Burmese": ("Myanmar", "မြန်မာ။", ["မြ", "န်", "မာ", "။"]),
    "Tibetan": ("Tibetan", "བོད་ཡིག།", ["བོ", "ད", "ཡི", "ག", "།"]),
    "mixed": ("Latin", "我的iPhone 15 很好, ok?", ["我", "的", "iPhone", "15", "很", "好", ",", "ok", "?"]),
    "quoted": ("Han", '他说"你好"。', ["他", "说", '"', "你", "好", '"', "。"]),
}
"""Script, text and words of many languages, by hand."""

cases = pytest.mark.parametrize(("name", "given_", "expected"), LANGUAGES.values(), ids=LANGUAGES)


@cases
def test_words_by_hand(name: str, given_: str, expected: list[str]) -> None:
    assert words(given_) == [unicodedata.normalize("NFC", word) for word in expected]


@cases
def test_a_script_is_known(name: str, given_: str, expected: list[str]) -> None:
    assert script(given_) == name


@cases
def test_composed_and_decomposed_texts_are_one(name: str, given_: str, expected: list[str]) -> None:
    forms = [unicodedata.normalize(form, given_) for form in ("NFC", "NFD")]
    splits: tuple[Callable[[str], Any], ...] = (words, terms, characters, count_words, script, has_words)
    for split in splits:
        assert split(forms[0]) == split(forms[1])
    assert rouge_l(*forms) == 1


@cases
def test_nothing_but_blanks_and_separators_is_lost(name: str, given_: str, expected: list[str]) -> None:
    kept = "".join(given_.translate({ord("፡"): None, ord("་"): None}).split())
    assert "".join(words(given_)) == unicodedata.normalize("NFC", kept)


@pytest.mark.parametrize(
    "sentence",
    [
        "The cat sat on the mat.",
        "They'll say it isn't (very) hard, won't they?",
        '"Stop!" he cried -- and left; nobody followed.',
        "It costs $3.50 a piece & more",
        "Über die Brücke: ja!",
        "",
    ],
)
def test_one_sentence_is_split_as_nltk_splits_it_whole(sentence: str) -> None:
    assert words(sentence) == NLTKWordTokenizer().tokenize(sentence)


def test_full_stops_inside_a_text_are_words_of_their_own() -> None:
    assert words("The end. Or not the end.") == ["The", "end", ".", "Or", "not", "the", "end", "."]


def test_case_and_any_blank() -> None:
    assert words("The\tthe\n\nTHE") == ["The", "the", "THE"]
    assert words("一\u3000二\u00a0三") == ["一", "二", "三"]


@pytest.mark.parametrize("blank", ["", " ", "\n\t "])
def test_blank_texts(blank: str) -> None:
    assert words(blank) == []
    assert sentences(blank) == [blank]
    assert script(blank) is None


@pytest.mark.parametrize("wordless", ["", " \n", "...", "?!", "🍕🍕", "👍🏽", "—", "_", "。", "\u0301", "\u200b"])
def test_a_text_without_letters_and_digits_has_no_words(wordless: str) -> None:
    assert not has_words(wordless) and words(wordless) == terms(wordless) == []
    assert rouge_l(wordless, wordless) == 0


def test_symbols_are_words_beside_words() -> None:
    assert words("so 🍕 ...") == ["so", "🍕", "..."]
    assert words("½ ok") == ["½", "ok"]


def test_blanks_of_no_width_do_not_count_where_there_are_no_blanks() -> None:
    assert words("ខ្មែ\u200bរ") == words("ខ្មែរ")
    assert words("a\u200bb") == ["a\u200bb"]


@pytest.mark.parametrize(
    ("marked", "plain"),
    [
        ("\u200fשלום\u200f לך.\u200e", "שלום לך."),
        ("\u2067مرحبا\u2069 \u202bبك\u202c\u061c", "مرحبا بك"),
        ("co\u00adoperate", "cooperate"),
        ("e\u200e\u0301", "é"),
        ("你\u200e好", "你好"),
    ],
)
def test_marks_that_nobody_sees_make_no_other_text(marked: str, plain: str) -> None:
    assert words(marked) == words(plain) and terms(marked) == terms(plain) and characters(marked) == characters(plain)
    assert composed(marked) == composed(plain) and script(marked) == script(plain) and rouge_l(marked, plain) == 1
    # Where a text is cut, it keeps them.
    assert first_words(marked, 9) == marked and count_words(marked) == count_words(plain)


@pytest.mark.parametrize("hostile", [". " * 5000, "." * 20000, "'" * 20000, "(" * 20000, " " * 50000, "é" + "҉" * 9000])
def test_hostile_texts_lose_nothing_but_blanks(hostile: str) -> None:
    assert "".join(words(f"x {hostile}")) == "".join(f"x{hostile}".split())
    assert "".join("".join(sentences(hostile)).split()) == "".join(hostile.split())


HOSTILE = [
    "。" * 90000 + "你",
    "\u200b" * 90000 + "x你",
    "你" + "\u0301" * 90000,
    "你" * 90000,
    "_" * 90000 + "é你",
    "… " * 90000,
]


@pytest.mark.parametrize("hostile", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_texts_take_no_time(hostile: str) -> None:
    start = time.process_time()
    for split in (words, terms, characters, sentences, count_words, script, ends_sentence):
        split(hostile)
    first_words(hostile, 10**6)
    assert time.process_time() - start < 5


piece = st.one_of(
    st.from_regex(r"[A-Za-z]{1,7}[.,;:!?]?", fullmatch=True),
    st.from_regex(r"[a-z0-9]{1,4}[-/_][a-z0-9]{1,3}[.,;:!?]?", fullmatch=True),
    st.sampled_from(
        [
            "cannot",
            "Gonna.",
            "wanna",
            "gotta!",
            "lemme",
            "gimme,",
            "don't",
            "U.S.",
            "3.5",
            "a-b",
            "(so)",
            "e.g.,",
            "cannot-do",
            "we-gonna",
        ]
    ),
    st.sampled_from(["Gımme", "gİmme", "Größe,", "l’été", "«non»", "“so”", "a—b", "wait…", "col·lecció"]),
    st.text("abCD'\".,!?;:-()1$%é’–", min_size=1, max_size=6).filter(lambda part: part.strip()),
)


@given(st.lists(piece, max_size=6))
def test_latin_pieces_are_split_as_nltk_does(pieces: list[str]) -> None:
    split = NLTKWordTokenizer().tokenize
    joined = " ".join(pieces)
    assert words(joined) == ([word for part in pieces for word in split(part)] if has_words(joined) else [])


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _strings(part)


@pytest.mark.skipif(not DATA.is_dir(), reason=DATA_WANTED)
@pytest.mark.parametrize("name", ["alpaca_eval_outputs", "reddit_tifu", "noveltybench_wildchat"])
def test_real_latin_texts_are_split_as_nltk_does(name: str) -> None:
    with gzip.open(DATA / f"{name}.jsonl.gz", "rt", encoding="utf-8") as rows:
        pieces = {part for row in rows for found in _strings(json.loads(row)) for part in found.split()}
    split = NLTKWordTokenizer().tokenize
    latin = [part for part in sorted(pieces)[::8] if has_words(part) and script(part) == "Latin"]
    # A piece in which blanks do not part the words is not Latin, though most of its letters are.
    differ = [part for part in latin if words(part) != split(part) and max(part) < "\u0370"]
    assert len(latin) > 500 and differ == []


def test_the_memo_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split_words, "_REMEMBERED", 10)
    split_words._SPLIT.clear()
    words(" ".join(f"word{number}" for number in range(95)) + " " + "x" * 100)
    assert len(split_words._SPLIT) == 5


def test_characters_stay_whole() -> None:
    assert characters("👩‍👩‍👧 👍🏽🇩🇪🇫🇷❤️é") == ["👩‍👩‍👧", "👍🏽", "🇩🇪", "🇫🇷", "❤️", "é"]
    assert characters("a bc\n") == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("given_", "count", "start"),
    [
        ("a b  c", 3, "a b"),
        ("今天天气，很好。", 6, "今天"),
        ("「今天」很好", 4, "「今天」"),
        ("我有iPhone手机", 5, "我有"),
        ("ខ្មែរល្អ", 3, "ខ្មែរ"),
        ("ok 你好", 3, "ok 你"),
        ("«Да», 你!", 2, "«Да», 你!"),
        ("ሰላም፡ልዑል፡ነው", 3, "ሰላም፡ልዑል"),
        ("", 0, ""),
    ],
)
def test_length_in_words_and_the_start_of_so_many(given_: str, count: int, start: str) -> None:
    assert count_words(given_) == count
    assert first_words(given_, 2) == start
    assert first_words(given_, count) == first_words(given_, count + 3) == given_
    assert first_words(given_, 0) == ""


@given(st.text("ab ，。你好ខ្មែរ(’é7", max_size=12), st.integers(0, 12))
def test_what_is_cut_has_the_length_that_was_asked_for(given_: str, count: int) -> None:
    cut = first_words(given_, count)
    assert given_.startswith(cut) and count_words(cut) == min(count, count_words(given_))


def test_a_kana_or_two_do_not_make_chinese_japanese() -> None:
    assert script("鲜の每日" * 3 + "今天天气真的很好我们一起去公园吧" * 5) == "Han"
