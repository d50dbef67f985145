"""Pages of ours: one HTML file that needs no network, runs its own script alone, and shows texts as they are."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

__all__ = ["fill_page", "script_json"]


def fill_page(template: str, values: Mapping[str, str]) -> str:
    """Return a page: a template with `{{name}}` where a value goes, and `{{policy}}` for its content security policy.

    The policy lets the template's own style and script through, and nothing else: a browser that keeps to it loads
    nothing, connects to nothing, and runs nothing that a value brings along.

    Args:
        template: with one `<style>` and one `<script>`, neither of them with a place to fill.
        values: what goes there, as HTML; the page has them as they are, whatever looks like a place in them.
    """
    filled = {**values, "policy": _policy(template)}
    # In one pass, since a value may hold what looks like a place to fill.
    return re.sub(r"\{\{(\w+)\}\}", lambda match: filled[match[1]], template)


def script_json(value: Any) -> str:
    r"""Return JSON in ASCII that cannot end the script element it stands in, nor open a comment there."""
    return re.sub("[<>&]", lambda match: f"\\u{ord(match[0]):04x}", json.dumps(value))


def _policy(template: str) -> str:
    hashes = {}
    for tag in ("style", "script"):
        [content] = re.findall(rf"<{tag}>(.*?)</{tag}>", template, re.DOTALL)
        hashes[tag] = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
    allowed = "; ".join(f"{tag}-src 'sha256-{value}'" for tag, value in hashes.items())
    return f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"
