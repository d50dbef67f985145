"""Processes of a launcher wait for each other by files."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from genrlhf.errors import RunFolderError
from genrlhf.studies.team import Alone, Team, team_of


def test_one_calls_and_the_others_follow(tmp_path: Path) -> None:
    leader, followers = Team(tmp_path / "t", 0, 3), [Team(tmp_path / "t", rank, 3) for rank in (1, 2)]
    ran: list[tuple[int, str]] = []
    statuses: dict[int, int] = {}

    def follow(team: Team) -> None:
        statuses[team.rank] = team.follow(lambda stage: ran.append((team.rank, stage)))

    threads = [threading.Thread(target=follow, args=(team,)) for team in followers]
    for thread in threads:
        thread.start()
    for stage in ("sft", "ppo"):
        leader.call(stage)
        leader.gather()
        assert sorted(ran[-2:]) == [(1, stage), (2, stage)]
    leader.dismiss(1)
    for thread in threads:
        thread.join(10)
    assert statuses == {1: 1, 2: 1}
    assert not (tmp_path / "t").exists()


def test_a_process_whose_launcher_is_gone_does_not_wait_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    team = Team(tmp_path / "t", 1, 2)
    monkeypatch.setattr(os, "getppid", lambda: 1)
    with pytest.raises(RunFolderError, match="Process 1 waits for another one, and their launcher is gone"):
        team.follow(lambda stage: None)


def test_one_process_is_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert type(team_of(tmp_path)) is Alone
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert team_of(tmp_path).is_main
