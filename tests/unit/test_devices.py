"""GPUs dealt out to children; no GPU is needed for it."""

import pytest

from workers.devices import Devices


def dealt(monkeypatch: pytest.MonkeyPatch, there: str, counts: list[int]) -> list[str | None]:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", there)
    devices = Devices()
    return [devices.environment(count).get("CUDA_VISIBLE_DEVICES") for count in counts]


def test_children_get_gpus_in_turn_as_many_as_they_ask_for_and_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    assert dealt(monkeypatch, "4,5,6", [1, 2, 1, 2, 8, 1]) == ["4", "5,6", "4", "5,6", "4,5,6", "4"]


def test_one_gpu_or_none_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert dealt(monkeypatch, "7", [1, 4]) == [None, None]
    assert dealt(monkeypatch, "", [2]) == [None]
