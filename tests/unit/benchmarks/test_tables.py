"""The table benchmark: its split, what it skips, what it makes of its lines."""

import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.tables.curve import shorter
from benchmarks.tables.report import tables
from benchmarks.tables.running import Desk, Failed, Run, lines, measured, run_all
from benchmarks.tables.sets import split


def line(model: str, seed: int = 0, auc: float = 0.6, cap: float | None = None, **notes: Any) -> dict[str, Any]:
    judge = {
        "shape": 0.98,
        "trend": 0.95,
        "c2st_auc": auc,
        "tstr": 0.9,
        "trtr": 0.92,
        "dcr_share": 0.5,
        "copies_x": 1.0,
    }
    cost = {"train": 10.0, "sample": 1.0}
    about = {"set": "adult", "model": model, "seed": seed, "cap": cap, "rows": 800, "columns": 15}
    return about | {"judge": judge, "cpu_seconds": cost, "notes": notes}


def cells(markdown: str, table: int, model: str) -> list[str]:
    """The cells of a model's row, in the first table (every set) or the second (medians)."""
    part = markdown.split("| model | sets |")[table]
    row = next(one for one in part.splitlines() if f"| {model} |" in one)
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_a_set_is_split_the_same_way_every_time_and_no_row_is_on_both_sides(tmp_path: Path) -> None:
    source = tmp_path / "islp_bikeshare.parquet"
    pq.write_table(pa.table({"id": range(1000), "bikers": range(1000)}), source)
    halves = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        assert split("islp_bikeshare", source, tmp_path / name) == (800, 200, 2)
        halves.append(
            [pq.read_table(tmp_path / name / f"{part}.parquet")["id"].to_pylist() for part in ("train", "holdout")]
        )
    assert halves[0] == halves[1]
    assert sorted(halves[0][0] + halves[0][1]) == list(range(1000))
    assert halves[0][0] != list(range(800))


def test_runs_that_are_in_the_file_are_not_repeated(tmp_path: Path) -> None:
    out = tmp_path / "results.jsonl"
    out.write_text(json.dumps(line("real")) + "\n")
    nowhere = Desk(tmp_path, tmp_path, 1, 1.0)
    run_all([Run("adult", "real", 0)], out, nowhere)  # would look for the data otherwise
    assert len(lines(out)) == 1


def test_the_median_of_the_seeds_is_shown() -> None:
    made = [line("mintage:draft", seed, auc) for seed, auc in enumerate((0.9, 0.6, 0.61))]
    shown = cells(tables([line("real", auc=0.5), *made]), 0, "mintage:draft")
    assert shown[2] == "3"
    assert shown[6] == ".610"


def test_a_training_that_was_cut_short_counts_with_its_estimated_cost_alone() -> None:
    short = line("ctgan", cap=150.0, capped=True, epochs=30, estimated_cpu_seconds=1000.0)
    markdown = tables([line("real"), short, line("mintage:draft", auc=0.55)])
    assert cells(markdown, 0, "ctgan")[3] == "~1,000 (30 epochs)"
    assert cells(markdown, 1, "ctgan")[1:3] == ["0", ""]
    ours = cells(markdown, 1, "mintage:draft")
    assert ours[8] == ".010"  # 10 of 1,000 CPU seconds
    assert ours[10] == "0 of 0"


def test_a_model_leads_where_it_is_harder_to_tell_than_every_peer() -> None:
    peers = [line("tabularargn", auc=0.61), line("tvae", auc=0.9)]
    assert cells(tables([*peers, line("mintage:draft", auc=0.60)]), 1, "mintage:draft")[10] == "1 of 1"
    assert cells(tables([*peers, line("mintage:draft", auc=0.62)]), 1, "mintage:draft")[10] == "0 of 1"


def test_the_longest_training_of_a_seed_is_the_one_shown() -> None:
    capped = line("tvae", auc=0.9, cap=150.0, capped=True, estimated_cpu_seconds=999.0)
    shown = cells(tables([line("tvae", auc=0.8), capped]), 0, "tvae")
    assert shown[3] == "10"
    assert shown[6] == ".800"


def test_cpu_seconds_are_those_of_the_program(tmp_path: Path) -> None:
    burn = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass\ntime.sleep(0.3)"
    usage = measured([sys.executable, "-c", burn], tmp_path / "log", threads=1, limit=60)
    assert 0.3 <= usage.cpu < usage.wall
    assert usage.wall >= 0.6


def test_a_program_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(Failed, match=r"(?s)log exit status 3.*no luck"):
        measured([sys.executable, "-c", "print('no luck'); raise SystemExit(3)"], tmp_path / "log", threads=1, limit=60)


def test_a_program_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="stopped after 1 s:"):
        measured([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path / "log", threads=1, limit=1)


def test_a_curve_of_ours_has_shares_of_the_steps_that_the_preset_took() -> None:
    done = [line("mintage:draft", seed=2, steps=1600), line("tvae"), line("real")]
    runs = shorter(done, ["adult"], ["mintage:draft"])
    assert [run.model for run in runs] == [f"mintage:draft:{steps}" for steps in (50, 100, 200, 400, 800)]
    assert {(run.set, run.seed, run.cap) for run in runs} == {("adult", 2, None)}
