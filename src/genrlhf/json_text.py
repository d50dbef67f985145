"""JSON text as data, with the place of what is wrong in it."""

from __future__ import annotations

import json
from typing import Any

from genrlhf.errors import DataError, excerpt

__all__ = ["parse_json"]


def parse_json(data: bytes, where: str) -> Any:
    """Return what JSON says.

    Raises:
        DataError: naming `where`, and what is wrong there.
    """
    try:
        # Files that Windows wrote may start with a byte order mark.
        return json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DataError(f"{where} is not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8.") from error
    except json.JSONDecodeError as error:
        at = f"column {error.colno}" if error.lineno == 1 else f"line {error.lineno}, column {error.colno}"
        shown = excerpt(error.doc[max(0, error.pos - 20) : error.pos + 40])
        raise DataError(f"{where} is not JSON: {error.msg} at {at}, near {shown}; correct or delete it.") from error
    except (RecursionError, ValueError) as error:
        # Nested too deep, or a number of thousands of digits.
        raise DataError(f"{where} cannot be read as JSON ({error}); correct or delete it.") from error
