"""The doorbell rings where it should."""

from collections.abc import Iterator

import pytest
import redis

from service.queue.doorbell import Doorbell, celery
from tests import servers


@pytest.fixture
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with servers.valkey(tmp_path_factory.mktemp("valkey")) as url:
        yield url


def test_a_unit_is_rung_for_in_its_own_queue_and_no_other(broker: str) -> None:
    doorbell, client = Doorbell(celery(broker)), redis.Redis.from_url(broker)
    assert doorbell.ring("gpu", "unit_1")
    assert doorbell.ring("gpu", "unit_2")
    assert doorbell.ring("cpu", "unit_3")
    assert (client.llen("mintage:gpu"), client.llen("mintage:cpu")) == (2, 1)


def test_a_broker_that_is_not_there_is_no_error(broker: str) -> None:
    doorbell = Doorbell(celery(f"redis://127.0.0.1:{servers.free_ports(1)[0]}/0"))
    assert not doorbell.ring("gpu", "unit_1")
    assert not doorbell.reachable()
