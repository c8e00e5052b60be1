"""Every history that the state machine allows, and some that it does not."""

import pytest

from service.domain.machine import JOB_MOVES, UNIT_MOVES, impossible, sources
from service.domain.states import ENDED, State


@pytest.mark.parametrize(
    "history",
    [
        "queued",
        "queued running succeeded",
        "queued cancelled",
        "queued failed",
        "queued running failed queued running failed queued cancelled",
    ],
)
def test_a_history_that_can_be(history: str) -> None:
    assert impossible(history.split()) is None


@pytest.mark.parametrize(
    ("history", "wrong"),
    [
        ("", "begins with nothing"),
        ("running", "begins with running"),
        ("queued succeeded", "queued was followed by succeeded"),
        ("queued running succeeded failed", "succeeded was followed by failed"),
        ("queued running cancelled queued", "cancelled was followed by queued"),
        ("queued running succeeded succeeded", "succeeded was followed by succeeded"),
    ],
)
def test_a_history_that_cannot_be(history: str, wrong: str) -> None:
    assert impossible(history.split()) == wrong


def test_a_success_is_never_undone_and_only_a_failure_is_retried() -> None:
    for moves in (JOB_MOVES, UNIT_MOVES):
        assert State.SUCCEEDED not in moves
    assert ENDED.intersection(sources(JOB_MOVES, State.QUEUED)) == {State.FAILED}


def test_a_unit_may_be_claimed_from_a_silent_worker_but_not_once_it_has_ended() -> None:
    assert set(sources(UNIT_MOVES, State.RUNNING)) == {State.QUEUED, State.RUNNING}
    assert set(sources(UNIT_MOVES, State.SUCCEEDED)) == {State.RUNNING}
