"""Which outputs a judge prefers. Names are loaded when first used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from genrlhf.metrics.preference.annotations import AnnotationWinRate, annotation_win_rates
    from genrlhf.metrics.preference.generalisation import generalisation_gap
    from genrlhf.metrics.preference.judges import ScoreJudge
    from genrlhf.metrics.preference.length_control import length_controlled
    from genrlhf.metrics.preference.winrate import WinRate, preference_vs_reference, win_rate

_HOMES = {
    "AnnotationWinRate": "annotations",
    "ScoreJudge": "judges",
    "WinRate": "winrate",
    "annotation_win_rates": "annotations",
    "generalisation_gap": "generalisation",
    "length_controlled": "length_control",
    "preference_vs_reference": "winrate",
    "win_rate": "winrate",
}

__all__ = [
    "AnnotationWinRate",
    "ScoreJudge",
    "WinRate",
    "annotation_win_rates",
    "generalisation_gap",
    "length_controlled",
    "preference_vs_reference",
    "win_rate",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
