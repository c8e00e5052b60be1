"""The demos' pictures and tables; the demos themselves run by `make demo`."""

import io
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from mintage.demo import table
from mintage.demo.pictures import grid, row_of_pictures
from mintage.demo.stage import Show, data_file
from mintage.errors import StackError


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """A bright one and a dark one."""
    paths = []
    for number, shade in enumerate((255, 0)):
        paths.append(tmp_path / f"{number}.png")
        Image.new("L", (28, 28), shade).save(paths[-1])
    return paths


def test_the_data_of_both_demos_are_in_the_repository() -> None:
    assert data_file("adult.parquet").stat().st_size > 100_000
    assert data_file("mnist_5k.zip").stat().st_size > 1_000_000
    with pytest.raises(StackError, match="clone of the repository"):
        data_file("nothing.zip")


def test_pictures_on_a_terminal_without_colour_are_shades(pictures: list[Path]) -> None:
    console = Console(file=io.StringIO(), width=80, color_system=None)
    row_of_pictures(pictures, console)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert lines[0] == "@" * 28 + " " * 30
    assert len(lines) == 14 + 1


def test_pictures_on_a_terminal_with_colour_are_half_blocks_in_their_colours(pictures: list[Path]) -> None:
    console = Console(file=io.StringIO(), width=80, color_system="truecolor", force_terminal=True)
    row_of_pictures(pictures, console)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "38;2;255;255;255;48;2;255;255;255m▀" in shown
    assert "38;2;0;0;0;48;2;0;0;0m▀" in shown


@pytest.mark.parametrize("width", [40, 80, 120, 300])
def test_pictures_never_wrap(pictures: list[Path], width: int) -> None:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    row_of_pictures(pictures * 5, console)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert max(map(len, lines)) <= width + 1  # the gap after the last one is blank


def test_the_sheet_has_a_column_for_each_label(pictures: list[Path], tmp_path: Path) -> None:
    bright, dark = pictures
    grid([[bright, dark, bright], [dark]], tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (2 * 60 + 4, 3 * 60 + 4)
        assert sheet.getpixel((30, 30)) == (255, 255, 255)
        assert sheet.getpixel((90, 30)) == sheet.getpixel((30, 90)) == (0, 0, 0)


@pytest.mark.parametrize(("width", "columns"), [(60, 3), (80, 4), (100, 5), (120, 6), (200, 6)])
def test_real_and_synthetic_rows_stand_side_by_side_whole(tmp_path: Path, width: int, columns: int) -> None:
    """A narrow terminal shows fewer columns, none of them cut."""
    real = data_file("adult.parquet")
    console = Console(file=io.StringIO(), width=width, color_system=None)
    report = {"shape": 0.98, "c2st_auc": 0.6, "verdict": "Good."}
    table._print(real, real, report, tmp_path, Show(console))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    lines = shown.splitlines()
    assert max(map(len, lines)) <= width
    assert "…" not in shown
    number = next(number for number, line in enumerate(lines) if "age" in line.split())
    names = lines[number].split()
    assert names[:columns] == names[columns:]
    half = lines[number].index("age", 1) if lines[number].startswith("age") else 0
    for line in lines[number + 1 : number + 1 + table.SHOWN]:  # the same file twice: both halves look the same
        assert line[:half].rstrip() == line[half:].rstrip()
    assert "0.980" in shown
    assert "Good." in shown
