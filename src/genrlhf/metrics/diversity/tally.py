"""What texts are like: how long, in which script, and how many have no words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from genrlhf.scripts import script, written_without_blanks
from genrlhf.text import count_words, has_words

__all__ = ["TextTally"]


@dataclass
class TextTally:
    """Counts over many texts.

    Attributes:
        texts: how many there are.
        words: of all of them, as `genrlhf.text.count_words` counts them.
        without_words: texts without a letter or digit.
        scripts: of the texts that have letters, how many are for the most part in each.
    """

    texts: int = 0
    words: int = 0
    without_words: int = 0
    scripts: Counter[str] = field(default_factory=Counter)

    def add(self, texts: Iterable[str]) -> None:
        """Count these texts."""
        for text in texts:
            self.texts += 1
            self.words += count_words(text)
            self.without_words += not has_words(text)
            name = script(text)
            if name is not None:
                self.scripts[name] += 1

    @property
    def mean_words(self) -> float:
        """The mean length of a text in words."""
        return self.words / self.texts if self.texts else 0.0

    @property
    def script(self) -> str | None:
        """The script that most texts are in; None where none has a letter."""
        return max(self.scripts, key=self.scripts.__getitem__, default=None)

    @property
    def without_blanks(self) -> bool:
        """Whether that script has no blanks between words."""
        return self.script is not None and written_without_blanks(self.script)
