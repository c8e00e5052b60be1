"""GPUs dealt out to children; no GPU is needed for it."""

import pytest

from workers.devices import Devices


def dealt(monkeypatch: pytest.MonkeyPatch, there: str, counts: list[int]) -> list[str | None]:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", there)
    devices = Devices()
    return [devices.share(count).environment.get("CUDA_VISIBLE_DEVICES") for count in counts]


def test_children_get_the_least_used_gpus_as_many_as_they_ask_for_and_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert dealt(monkeypatch, "4,5,6", [1, 2, 1, 2, 8, 1]) == ["4", "5,6", "4", "5,6", "4,5,6", "4"]


def test_a_gpu_that_was_given_back_is_dealt_before_one_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    devices = Devices()
    training, shard = devices.share(), devices.share()
    shard.give_back()
    shard.give_back()  # a child may be ended twice
    assert devices.share().environment == shard.environment != training.environment


def test_one_gpu_or_none_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert dealt(monkeypatch, "7", [1, 4]) == [None, None]
    assert dealt(monkeypatch, "", [2]) == [None]
