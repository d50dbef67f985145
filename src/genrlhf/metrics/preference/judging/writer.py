"""Writes to a store of answers, those that are due at a time in one transaction: each of them waits for the disk."""

from __future__ import annotations

import asyncio

from genrlhf.metrics.preference.judging.answer_store import AnswerStore, Change

__all__ = ["StoreWriter"]


class StoreWriter:
    """Writes changes of several tasks to a store.

    Args:
        store: None to write nothing.
    """

    def __init__(self, store: AnswerStore | None) -> None:
        self._store = store
        self._due: list[tuple[Change, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def write(self, change: Change) -> None:
        """Write a change; on return it is on disk. A caller that is cancelled has it written all the same."""
        if self._store is None:
            return
        written = asyncio.get_running_loop().create_future()
        self._due.append((change, written))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_all(self._store))
        await asyncio.shield(written)

    async def close(self) -> None:
        """Wait until all is written."""
        if self._writing is not None:
            await self._writing

    async def _write_all(self, store: AnswerStore) -> None:
        while self._due:
            due, self._due = self._due, []
            try:
                await asyncio.to_thread(store.apply, [change for change, _ in due])
            except Exception as error:
                for _, written in due:
                    written.set_exception(error)
            else:
                for _, written in due:
                    written.set_result(None)
