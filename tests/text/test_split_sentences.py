"""Sentences of texts in any language."""

from __future__ import annotations

import pytest

from genrlhf.text import (
    ends_sentence,
    sentences,
)


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ("It rained. Did you see? Yes!\nI did", ["It rained.", "Did you see?", "Yes!", "I did"]),
        ("下雨了。你看见了吗？没有！好", ["下雨了。", "你看见了吗？", "没有！", "好"]),
        ("「すごい！」と言った。ほんと!", ["「すごい！」", "と言った。", "ほんと!"]),
        ("圆周率是３．１４。对", ["圆周率是３．１４。", "对"]),
        ("यह अच्छा है। हाँ॥ ठीक", ["यह अच्छा है।", "हाँ॥", "ठीक"]),
        ("یہ اچھا ہے۔کیا؟ہاں", ["یہ اچھا ہے۔", "کیا؟", "ہاں"]),
        ("Բարև։ Ո՞ւր ես։", ["Բարև։", "Ո՞ւր ես։"]),
        ("ሰላም። እንዴት ነህ፧", ["ሰላም።", "እንዴት ነህ፧"]),
        ("Τι είναι; Ναι. Όχι;", ["Τι είναι;", "Ναι.", "Όχι;"]),
        ("ខ្មែរ។ ល្អ", ["ខ្មែរ។", "ល្អ"]),
        ("မြန်မာ။ ကောင်း", ["မြန်မာ။", "ကောင်း"]),
        ("Да. Нет! Так?", ["Да.", "Нет!", "Так?"]),
        ("so… and; é then", ["so… and; é then"]),
    ],
)
def test_sentences_without_training_data(given_: str, expected: list[str]) -> None:
    assert sentences(given_) == expected


def test_ends_of_sentences() -> None:
    assert all(map(ends_sentence, ("a.", "a! ", "好。", "है।", "؟", "ok．")))
    assert not any(map(ends_sentence, ("", "a", "好，", "a. b")))
