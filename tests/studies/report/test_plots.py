"""Plots as PNG."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from genrlhf.studies import BestOfNPoint, plot, plot_reward_kl
from genrlhf.types import Estimate
from tests.studies.report.test_tables import estimate, figures


def test_plot_is_the_same_png_every_time(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        plot({"sft": figures(0), "ppo": figures(0.1)}, tmp_path / name)
    first = (tmp_path / "a.png").read_bytes()
    assert first.startswith(b"\x89PNG\r\n\x1a\n")
    assert first == (tmp_path / "b.png").read_bytes()
    plot({"sft": figures(0), "ppo": figures(0.3)}, tmp_path / "c.png")
    assert first != (tmp_path / "c.png").read_bytes()


POINTS = [
    BestOfNPoint(n=1, kl=0.0, reward=estimate(0.0, 0.25)),
    BestOfNPoint(n=2, kl=0.193, reward=estimate(0.5, 0.125)),
    BestOfNPoint(n=4, kl=0.636, reward=estimate(0.75, 0.5)),
]


def test_reward_is_plotted_against_kl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Figure] = []
    save = Figure.savefig

    def note(figure: Figure, *args: Any, **kwargs: Any) -> None:
        drawn.append(figure)
        save(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", note)
    ppo = {**figures(0), "reward": {"id": estimate(2.0, 0.5)}, "kl": estimate(4.0, 1.0)}
    plot_reward_kl(POINTS, {"sft": figures(0), "ppo": ppo, "best_of_n": figures(0)}, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    (axes,) = drawn[0].axes
    curve, sft, trained = axes.containers
    assert [container.get_label() for container in axes.containers] == ["best-of-n (bound on its KL)", "SFT", "PPO"]
    assert curve[0].get_xydata().tolist() == [[0.0, 0.0], [0.193, 0.5], [0.636, 0.75]]
    assert segments(curve) == [
        [[[0, -0.25], [0, 0.25]], [[0.193, 0.375], [0.193, 0.625]], [[0.636, 0.25], [0.636, 1.25]]]
    ]
    assert sft[0].get_xydata().tolist() == [[0.0, 1.5]]
    assert trained[0].get_xydata().tolist() == [[4.0, 2.0]]
    # error bars in both directions: the intervals of KL and reward
    assert segments(trained) == [[[[3.0, 2.0], [5.0, 2.0]]], [[[4.0, 1.5], [4.0, 2.5]]]]
    assert [text.get_text() for text in axes.texts] == ["n = 1", "n = 2", "n = 4"]
    # KL 4 is twice as far from 0 as KL 1, and an estimate below 0 has a place too.
    at = [axes.transData.transform((kl, 0))[0] for kl in (-1.0, 0.0, 1.0, 4.0)]
    assert np.diff(at) == pytest.approx([at[1] - at[0]] * 3)


def segments(container: Any) -> list[Any]:
    return [[segment.tolist() for segment in bars.get_segments()] for bars in container[2]]


def test_reward_kl_plot_without_intervals(tmp_path: Path) -> None:
    nan = float("nan")
    single = Estimate(1.0, nan, (nan, nan), 1, np.ones(1))
    plot_reward_kl([BestOfNPoint(n=1, kl=0.0, reward=single)], {}, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 0
