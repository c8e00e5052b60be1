"""Two real processes that share the steps of one training."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

ALL = 99  # samples that there is room for


def team(
    folder: Path, size: int, begin: str = "none", rooms: tuple[int, int] = (ALL, ALL), what: str = "numbers"
) -> list[dict[str, Tensor]]:
    """Everything that each rank holds at the end."""
    (folder / "team").unlink(missing_ok=True)
    command = [sys.executable, "-m", "tests.unit.engine.team_rank", str(folder)]
    told = [[str(rank), str(size), begin, str(rooms[rank]), what] for rank in range(size)]
    running = [subprocess.Popen([*command, *one], stderr=subprocess.PIPE, text=True) for one in told]
    for one in running:
        _, said = one.communicate(timeout=120)
        assert one.returncode == 0, said
    return [load_file(folder / f"rank-{rank}") for rank in range(size)]


def assert_close(mine: dict[str, Tensor], its: dict[str, Tensor], atol: float = 1e-9) -> None:
    assert mine.keys() == its.keys()
    for name, value in mine.items():
        torch.testing.assert_close(
            value, its[name], rtol=1e-6, atol=atol, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Tensor]]:
    folder = tmp_path_factory.mktemp("alone")
    [state] = team(folder, 1)
    return folder, state


def test_two_hold_the_same_state_and_it_is_that_of_one(tmp_path: Path, alone: tuple[Path, dict[str, Tensor]]) -> None:
    first, second = team(tmp_path, 2)
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert_close(first, alone[1])


def test_one_of_two_may_have_less_memory(tmp_path: Path, alone: tuple[Path, dict[str, Tensor]]) -> None:
    first, second = team(tmp_path, 2, rooms=(ALL, 2))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert_close(first, alone[1])


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1)])
def test_a_checkpoint_of_one_is_one_of_two(
    tmp_path: Path, alone: tuple[Path, dict[str, Tensor]], before: int, after: int
) -> None:
    if before == 1:
        (tmp_path / "half-0").write_bytes((alone[0] / "half-0").read_bytes())
    else:
        team(tmp_path, before)
    first = team(tmp_path, after, "half-0")[0]
    assert_close(first, alone[1])


def test_two_learn_pictures_as_one_does(tmp_path: Path) -> None:
    [one] = team(tmp_path, 1, what="pictures")
    first, second = team(tmp_path, 2, what="pictures")
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert_close(
        first, one, atol=1e-3
    )  # some gradients are rounding alone at first, and Adam takes whole steps by them
