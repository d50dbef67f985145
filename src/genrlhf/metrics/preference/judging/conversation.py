"""What a judge is asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

__all__ = ["Conversation"]


class Conversation(list[dict[str, str]]):
    """Messages of `role` and `content`, and the random mark that fences the texts among them, "" for none.

    Two conversations that differ in their marks alone ask the same. So a key of one is made of it `without_mark`.
    """

    def __init__(self, messages: Iterable[Mapping[str, str]], mark: str = "") -> None:
        super().__init__(map(dict, messages))
        self.mark = mark

    def without_mark(self) -> list[dict[str, str]]:
        """Return the messages as they are but for the mark."""
        if not self.mark:
            return list(self)
        return [{**message, "content": message["content"].replace(self.mark, "")} for message in self]
