"""The state machine: every move that a job and a unit may make, and so every history that may be. Pure Python.

Whatever changes a state in the database names the states that it starts from by `sources`; nothing else may change one.

A job is queued, then runs, then ends. Only one that failed moves again: it is queued once more when its user asks for
that, as long as what it left in storage is kept. A unit is also queued again when its attempt is lost, drained or
starved of storage, and a lost one may be claimed straight away; each claim is a new attempt with a higher number. When
a failed job is retried, its failed unit and the siblings that were cancelled by the failure are queued again."""

from collections.abc import Iterable, Mapping
from itertools import pairwise

from service.domain.states import State

JOB_MOVES = {
    State.QUEUED: {State.RUNNING, State.FAILED, State.CANCELLED},
    State.RUNNING: {State.SUCCEEDED, State.FAILED, State.CANCELLED},
    State.FAILED: {State.QUEUED},  # a retry
}
UNIT_MOVES = {
    State.QUEUED: {State.RUNNING, State.CANCELLED},
    State.RUNNING: {State.RUNNING, State.QUEUED, State.SUCCEEDED, State.FAILED, State.CANCELLED},
    State.FAILED: {State.QUEUED},  # a retry of the job
    State.CANCELLED: {State.QUEUED},  # likewise; a job that was cancelled itself stays so, and its units with it
}
Moves = Mapping[State, set[State]]


def sources(moves: Moves, to: State) -> list[State]:
    """The states from which a move leads to `to`."""
    return [state for state, tos in moves.items() if to in tos]


def impossible(history: Iterable[str], moves: Moves = JOB_MOVES) -> str | None:
    """What is wrong with a history of states, oldest first, as the events of a job tell it; None if it can be."""
    states = [State(state) for state in history]
    if states[:1] != [State.QUEUED]:
        return f"begins with {states[0] if states else 'nothing'}"
    for before, after in pairwise(states):
        if after not in moves.get(before, set()):
            return f"{before} was followed by {after}"
    return None
