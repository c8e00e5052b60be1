"""Augmenting from Python and from the command line, against a real HTTP server."""

import hashlib
import json
from pathlib import Path
from typing import Any

from rich.console import Console

from mintage.cli.reports import gained
from mintage.results import Job, Model
from tests.unit.client.test_cli import run
from tests.unit.client.web import Asked, Said, serving, talking

RESULT: dict[str, Any] = {
    "model_id": "mdl_9", "output": {"files": 1, "rows": 3, "bytes": 9}, "real_rows": 2, "synthetic_rows": 1,
    "before": {"roc_auc": 0.912, "balanced_accuracy": 0.701, "recall": {"no": 0.95, "yes": 0.45}, "trained_on": 2},
    "after": {"roc_auc": 0.905, "balanced_accuracy": 0.812, "recall": {"no": 0.9, "yes": None}, "trained_on": 3},
    "weighted": {"roc_auc": 0.91, "balanced_accuracy": 0.815, "recall": {"no": 0.9, "yes": 0.73}, "trained_on": 2},
    "verdict": "The synthetic rows helped [a lot].", "warnings": ["Seven rows have no class."],
}  # fmt: skip
JOB = {"id": "job_1", "kind": "augment", "state": "succeeded", "progress": {"fraction": 1.0}, "result": RESULT}
BODY = b"x,is_synthetic\n"


def shown(result: dict[str, Any]) -> str:
    console = Console(width=120)
    with console.capture() as text:
        console.print(gained(result))
    return text.get()


def test_the_client_sends_what_was_asked_for_and_nothing_else() -> None:
    with talking(lambda asked: Said(201, JOB)) as (web, client):
        client.augment("ds_1", "income")
        model = Model.of({"id": "mdl_2"})
        client.augment("ds_1", "income", model=model, method="enlarge", factor=1.5, seed=3, format="csv", name="x")
        client.augment("ds_1", "income", model=Job.of({"id": "job_3", "model_id": "mdl_3"}, client), count=9)
        client.augment("ds_1", "income", config={"preset": "draft"})
    base = {"kind": "augment", "dataset_id": "ds_1", "target": "income"}
    assert [asked.json for asked in web.asked] == [
        base,
        base | {"model_id": "mdl_2", "method": "enlarge", "factor": 1.5, "seed": 3, "format": "csv", "name": "x"},
        base | {"model_id": "mdl_3", "count": 9},
        base | {"config": {"preset": "draft"}},
    ]


def test_options_become_the_request_that_they_say() -> None:
    with serving(lambda asked: Said(201, JOB | {"state": "queued"})) as web:
        done = run("augment", "ds_1", "--target", "income", "--no-wait", url=web.url)
        run(
            "augment", "ds_1", "--target", "a b", "--method", "enlarge", "--factor", "3", "--seed", "4",
            "--format", "csv", "--preset", "draft", "--steps", "30", "--time-limit", "60", "--set", "width=64",
            "--name", "x", "--no-wait", url=web.url,
        )  # fmt: skip
        run("augment", "ds_1", "--target", "income", "--model", "mdl_1", "--count", "5", "--no-wait", url=web.url)
    assert "mintage jobs download job_1" in done.stdout
    base = {"kind": "augment", "dataset_id": "ds_1"}
    config = {"preset": "draft", "steps": 30, "time_limit_seconds": 60, "width": 64}
    assert [asked.json for asked in web.asked] == [
        base | {"target": "income"},
        base | {"target": "a b", "method": "enlarge", "factor": 3.0, "seed": 4, "format": "csv", "name": "x"}
        | {"config": config},
        base | {"target": "income", "model_id": "mdl_1", "count": 5},
    ]  # fmt: skip


def test_the_command_waits_downloads_and_says_what_was_gained(tmp_path: Path) -> None:
    file = {"name": "part-00000.csv", "bytes": len(BODY), "sha256": hashlib.sha256(BODY).hexdigest(), "rows": 3}

    def answer(asked: Asked) -> Said:
        if asked.path.endswith("/output"):
            return Said(200, {"count": 3, "format": "csv", "files": [file | {"url": f"{web.url}/file"}]})
        return Said(200, BODY) if asked.path == "/file" else Said(201 if asked.method == "POST" else 200, JOB)

    with serving(answer) as web:
        done = run("augment", "ds_1", "--target", "income", "--out", str(tmp_path / "out"), url=web.url)
        as_json = run("augment", "ds_1", "--target", "income", "--out", str(tmp_path / "two"), "--json", url=web.url)
    assert done.returncode == 0, done.stderr
    assert "2 real and 1 synthetic rows" in done.stdout
    assert "helped [a lot]" in done.stdout
    assert (tmp_path / "out" / "part-00000.csv").read_bytes() == BODY
    assert json.loads(as_json.stdout.splitlines()[-1]) == JOB


def test_figures_stand_side_by_side_and_what_is_unknown_is_left_empty() -> None:
    lines = shown(RESULT).splitlines()
    assert any(line.split() == ["balanced_accuracy", "0.701", "0.812", "0.815"] for line in lines)
    assert any(line.split() == ["recall", "of", "yes", "0.450", "0.730"] for line in lines)
    assert "trained_on" not in "".join(lines)
    assert lines[-1] == "Seven rows have no class."
    assert "weighted" not in shown(RESULT | {"weighted": None})
    assert shown({"before": None, "verdict": "No target was named."}).strip() == "No target was named."
    assert shown({}).strip() == ""
