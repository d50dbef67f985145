"""Record what alpaca_eval 0.6.6 asks and finds, as the reference of `test_alpaca_eval_reference.py`.

    python3.11 -m venv env && env/bin/pip install "setuptools<81" alpaca_eval==0.6.6
    env/bin/python -m tests.metrics.preference.judging.alpaca_eval_reference.record

from the root of the repository. The server is local; nothing is asked of anyone else.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import tempfile
from typing import Any

from tests.metrics.preference.judging.alpaca_eval_reference.scripted import (
    FOLDER,
    JUDGES,
    answer,
    digest,
    reference_rows,
)
from tests.metrics.preference.judging.chat_server import ChatServer


def record(judge: str, rows: list[dict[str, str]], server: ChatServer) -> dict[str, Any]:
    """Have alpaca_eval annotate the rows, and return what it sent and what it made of the answers."""
    from alpaca_eval.annotators import PairwiseAnnotator

    server.requests.clear()
    with tempfile.TemporaryDirectory() as folder:
        annotator = PairwiseAnnotator(
            annotators_config=FOLDER / judge / "configs.yaml", base_dir=FOLDER, caching_path=f"{folder}/cache.json"
        )
        annotated = annotator.annotate_pairs(rows)
    found = {(row["instruction"], row["output_1"], row["output_2"]): row["preference"] for row in annotated}
    requests = [dict(request) for request in server.requests]
    preferences = [found[row["instruction"], row["output_1"], row["output_2"]] for row in rows]
    asked = sorted(digest(request.pop("messages")) for request in requests)
    (settings,) = {json.dumps(request, sort_keys=True) for request in requests}
    return {
        "asked": asked,
        "settings": json.loads(settings),
        "preferences": [None if value is None or math.isnan(value) else value for value in preferences],
    }


def main() -> None:
    rows = reference_rows()
    with ChatServer(answer=answer) as server:
        # Read when alpaca_eval is imported.
        os.environ |= {"OPENAI_API_KEY": "none", "OPENAI_API_BASE": server.url}
        judges = {judge: record(judge, rows, server) for judge in JUDGES}
    result = {"alpaca_eval": importlib.metadata.version("alpaca_eval"), "judges": judges}
    (FOLDER / "record.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
