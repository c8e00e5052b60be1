"""The short form of `make chaos`: half a minute of faults, on each kind of service."""

import pytest

from tests.chaos.storm import Storm, run

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("stack"), pytest.mark.timeout(600)]


@pytest.mark.parametrize("kind", ["embedded", "servers"])
def test_nothing_is_lost_whatever_is_killed(kind: str) -> None:
    outcome = run(Storm(kind, 30.0, seed=1, every=1.5, pictures=False))
    assert not outcome.wrong, f"{outcome.summary()}\n{outcome.logs}"
    assert sum(outcome.faults.counts.values()) >= 8
