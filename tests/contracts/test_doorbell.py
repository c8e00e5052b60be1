"""The doorbell rings where it should."""

from collections.abc import Iterator

import pytest
import redis

from service.queue.doorbell import MOST_WAITING, Doorbell, celery
from tests import servers


@pytest.fixture
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with servers.valkey(tmp_path_factory.mktemp("valkey")) as url:
        yield url


def test_a_queue_is_rung_and_no_other(broker: str) -> None:
    doorbell, client = Doorbell(celery(broker)), redis.Redis.from_url(broker)
    assert doorbell.ring("gpu", 2)
    assert doorbell.ring("cpu")
    assert (client.llen("mintage:gpu"), client.llen("mintage:cpu")) == (2, 1)
    assert (doorbell.waiting("gpu"), doorbell.waiting("cpu")) == (2, 1)


def test_doorbells_that_nobody_hears_do_not_pile_up(broker: str) -> None:
    doorbell = Doorbell(celery(broker))
    for _ in range(5):
        assert doorbell.ring("gpu", 1_000)
    assert doorbell.waiting("gpu") == MOST_WAITING


def test_a_broker_that_is_not_there_is_no_error(broker: str) -> None:
    doorbell = Doorbell(celery(f"redis://127.0.0.1:{servers.free_ports(1)[0]}/0"))
    assert not doorbell.ring("gpu")
    assert not doorbell.reachable()
