"""Run the Python blocks of Markdown files: `python docs/run_code_blocks.py README.md docs/*.md`.

All ```python blocks of one file share one namespace, as a reader would type them, and run in a temporary folder. An
error shows file and line, and ends the run with status 1. A block under the comment `<!-- not run -->` is left out.
"""

from __future__ import annotations

import gc
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

NOT_RUN = "<!-- not run -->"


def code_blocks(text: str) -> Iterator[tuple[int, str]]:
    """Yield the line (from 1) at which the code of every Python block starts, and the code."""
    lines = text.splitlines()
    number = 0
    while number < len(lines):
        opening = lines[number]
        fence = opening.lstrip()
        if not fence.startswith("```"):
            number += 1
            continue
        indent = len(opening) - len(fence)
        ticks = fence[: len(fence) - len(fence.lstrip("`"))]
        start = number + 1
        end = next((i for i in range(start, len(lines)) if lines[i].strip() == ticks), None)
        if end is None:
            raise SystemExit(f"The block that starts in line {start} is never closed.")
        before = next((line for line in reversed(lines[:number]) if line.strip()), "")
        if fence[len(ticks) :].split()[:1] == ["python"] and before.strip() != NOT_RUN:
            yield start + 1, "\n".join(line[indent:] for line in lines[start:end])
        number = end + 1


def run_file(path: Path) -> bool:
    """Run the blocks of one file and say whether all of them passed."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    home = Path.cwd()
    # A Trainer asks for garbage collections, which would look through all that has been imported.
    gc.freeze()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            for line, code in code_blocks(path.read_text(encoding="utf-8")):
                started = time.perf_counter()
                # Blank lines before the code make the line numbers in a traceback those of the file.
                exec(compile("\n" * (line - 1) + code, str(path), "exec", dont_inherit=True), namespace)
                print(f"{path.name}:{line} passed in {time.perf_counter() - started:.1f} s", flush=True)
        except BaseException as error:
            traceback.print_exc()
            frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
            where = frames[-1].lineno if frames else getattr(error, "lineno", line)
            print(f"{path}:{where}: {type(error).__name__}: {error}", file=sys.stderr)
            return False
        finally:
            os.chdir(home)
    return True


if __name__ == "__main__":
    results = [run_file(Path(name).resolve()) for name in sys.argv[1:]]
    sys.exit(0 if results and all(results) else 1)
