"""Words and sentences, as `genrlhf.text` has them."""

from genrlhf.text import pieces_without_stops, sentences, words

__all__ = ["pieces_without_stops", "sentences", "words"]
