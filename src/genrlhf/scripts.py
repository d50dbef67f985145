"""Which script a text is written in, and whether that has blanks between words."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections import Counter

__all__ = ["WITHOUT_BLANKS", "script", "written_without_blanks"]

WITHOUT_BLANKS: dict[str, tuple[tuple[int, int], ...]] = {
    "Han": (
        *((0x2E80, 0x2FDF), (0x3005, 0x3007), (0x3021, 0x3029), (0x3038, 0x303C), (0x3400, 0x4DBF), (0x4E00, 0x9FFF)),
        *((0xF900, 0xFAFF), (0x20000, 0x3FFFD)),
    ),
    "Hiragana": ((0x3041, 0x309F), (0x1B001, 0x1B11F), (0x1B132, 0x1B152)),
    "Katakana": (
        *((0x3031, 0x3035), (0x30A1, 0x30FA), (0x30FC, 0x30FF), (0x31F0, 0x31FF), (0xFF66, 0xFF9F)),
        *((0x1AFF0, 0x1AFFF), (0x1B000, 0x1B000), (0x1B120, 0x1B131), (0x1B155, 0x1B16F)),
    ),
    "Bopomofo": ((0x3100, 0x312F), (0x31A0, 0x31BF)),
    "Yi": ((0xA000, 0xA48C),),
    "Thai": ((0x0E00, 0x0E7F),),
    "Lao": ((0x0E80, 0x0EFF),),
    "Tibetan": ((0x0F00, 0x0FFF),),
    "Myanmar": ((0x1000, 0x109F), (0xA9E0, 0xA9FF), (0xAA60, 0xAA7F), (0x116D0, 0x116FF)),
    "Khmer": ((0x1780, 0x17FF),),
    "Tai Le": ((0x1950, 0x197F),),
    "New Tai Lue": ((0x1980, 0x19DF),),
    "Tai Tham": ((0x1A20, 0x1AAF),),
    "Balinese": ((0x1B00, 0x1B7F),),
    "Javanese": ((0xA980, 0xA9DF),),
    "Tai Viet": ((0xAA80, 0xAADF),),
    "Ahom": ((0x11700, 0x1174F),),
    "Cuneiform": ((0x12000, 0x1254F),),
    "Egyptian Hieroglyphs": ((0x13000, 0x143FF),),
    "Tangut": ((0x17000, 0x18AFF), (0x18D00, 0x18DFF)),
    "Khitan": ((0x18B00, 0x18CFF),),
    "Nushu": ((0x1B170, 0x1B2FF),),
}
"""Scripts without blanks between words, and the blocks of Unicode that their letters lie in: those that Unicode's
Standard Annex #14 breaks between any two characters or by a dictionary (classes ID, CJ and SA), and Tibetan, Balinese
and Javanese. Digits and marks of these blocks are told apart by their general category."""

_LETTERS = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def script(text: str) -> str | None:
    """Return the script that most letters of `text` are of, such as "Latin", "Han" or "Thai"; None without letters.

    Han and kana in one text are "Japanese".

    Example:
        >>> [script(text) for text in ("a Ж", "всё ok", "今日は", "你好", "42!")]
        ['Latin', 'Cyrillic', 'Japanese', 'Han', None]
    """
    if text.isascii():
        return "Latin" if any(map(str.isalpha, text)) else None
    plain = text.encode("ascii", "ignore")
    letters = len(plain) - len(plain.translate(None, _LETTERS))
    if letters > len(text) - len(plain):
        return "Latin"
    counts: Counter[str] = Counter()
    for sign, count in Counter(unicodedata.normalize("NFC", text)).items():
        if (name := _script_of(sign)) is not None:
            counts[name] += count
    # A kana or two are no Japanese: Chinese brands have them.
    kana = counts.pop("Hiragana", 0) + counts.pop("Katakana", 0)
    if kana:
        han = counts.pop("Han", 0)
        counts["Japanese" if 20 * kana >= han else "Han"] = kana + han
    return max(counts, key=lambda name: counts[name], default=None)


def written_without_blanks(name: str) -> bool:
    """Say whether a script, as `script` names it, has no blanks between words."""
    return name == "Japanese" or name in WITHOUT_BLANKS


_FORMS = re.compile(
    r"(?:FULLWIDTH |HALFWIDTH )?(\w[\w ]*?) "
    r"(?:(?:CAPITAL|SMALL|FINAL|VOWEL|LETTER|LIGATURE|SYLLABLE|SYLLABICS|CHARACTER|SIGN|IDEOGRAPH)\b)"
)


@functools.lru_cache(maxsize=16384)
def _script_of(sign: str) -> str | None:
    """Return the script of a letter, by the block it lies in or its name."""
    if not sign.isalpha():
        return None
    for name, blocks in WITHOUT_BLANKS.items():
        if any(first <= ord(sign) <= last for first, last in blocks):
            return name
    match = _FORMS.match(unicodedata.name(sign, ""))
    return match[1].title() if match and not match[1].startswith(("MODIFIER", "MATHEMATICAL")) else None
