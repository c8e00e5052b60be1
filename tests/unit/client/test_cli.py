"""The command line: help, exit statuses, and where --json may stand."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from mintage.cli.app import app
from mintage.cli.common import pairs, settings, size
from mintage.cli.reports import headline
from tests.servers import free_ports
from tests.unit.client.web import Asked, Said, serving

GOLDEN = Path(__file__).parents[2] / "golden" / "cli-help.txt"
COMMANDS = [
    "", "up", "down", "status", "doctor", "demo", "train", "generate", "augment",
    "datasets", "datasets upload", "datasets list", "datasets show", "datasets delete",
    "jobs", "jobs list", "jobs show", "jobs watch", "jobs cancel", "jobs retry", "jobs delete", "jobs download",
    "models", "models list", "models show", "models report", "models delete",
]  # fmt: skip
JOB = {"id": "job_1", "kind": "train", "state": "queued", "progress": {"fraction": 0}}


def run(*arguments: str, url: str = "http://127.0.0.1:9", **env: str) -> subprocess.CompletedProcess[str]:
    """The real program, in a process of its own."""
    known = {name: value for name, value in os.environ.items() if not name.startswith("MINTAGE_")}
    return subprocess.run(
        [sys.executable, "-m", "mintage", *arguments], capture_output=True, text=True, timeout=60, check=False,
        env={**known, "MINTAGE_URL": url, "MINTAGE_API_KEY": "key", **env},
    )  # fmt: skip


def test_golden_help_of_every_command() -> None:
    runner = CliRunner(env={"COLUMNS": "100", "TERMINAL_WIDTH": "100", "NO_COLOR": "1", "TERM": "dumb"})
    texts = []
    for command in COMMANDS:
        shown = runner.invoke(app, [*command.split(), "--help"], prog_name="mintage")
        assert shown.exit_code == 0, shown.output
        lines = (line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", shown.output).strip().splitlines())
        texts.append(f"$ mintage {command} --help".replace("  ", " ") + "\n" + "\n".join(lines) + "\n")
    text = "\n".join(texts)
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(text, encoding="utf-8")
    assert text == GOLDEN.read_text(encoding="utf-8"), "run 'make golden' and read the diff"


@pytest.mark.parametrize(
    "arguments",
    [["--json", "jobs", "show", "job_1"], ["jobs", "--json", "show", "job_1"], ["jobs", "show", "job_1", "--json"]],
)
def test_json_may_stand_anywhere_and_prints_the_apis_object_on_one_line(arguments: list[str]) -> None:
    job = JOB | {"a_new_field": "ä"}
    with serving(lambda asked: Said(200, job)) as web:
        done = run(*arguments, url=web.url)
    assert done.returncode == 0
    assert json.loads(done.stdout.splitlines()[-1]) == job


def test_a_refused_request_is_a_sentence_with_its_code_and_status_one() -> None:
    problem = {"code": "dataset_not_ready", "detail": "The dataset is not ready [yet].", "request_id": "req_1"}
    with serving(lambda asked: Said(409, problem)) as web:
        done = run("train", "ds_1", url=web.url)
        as_json = run("train", "ds_1", "--json", url=web.url)
    assert done.returncode == 1
    assert done.stderr.strip() == "Error: The dataset is not ready [yet]. [dataset_not_ready]"
    assert done.stdout == ""
    assert json.loads(as_json.stdout.splitlines()[-1])["code"] == "dataset_not_ready"


def test_a_failed_job_is_a_sentence_with_its_code_and_status_one() -> None:
    failed = JOB | {"state": "failed", "error": {"code": "too_few_rows", "message": "Ten rows are needed."}}
    with serving(lambda asked: Said(201 if asked.method == "POST" else 200, failed)) as web:
        done = run("train", "ds_1", url=web.url)
        as_json = run("train", "ds_1", "--json", url=web.url)
    assert done.returncode == as_json.returncode == 1
    assert "Error: Ten rows are needed. [too_few_rows]" in done.stderr
    assert json.loads(as_json.stdout.splitlines()[-1]) == failed


@pytest.mark.parametrize("verb", ["watch", "download"])
def test_a_job_that_failed_long_ago_is_the_object_that_json_prints(verb: str) -> None:
    failed = JOB | {"state": "failed", "error": {"code": "too_few_rows", "message": "Ten rows are needed."}}
    with serving(lambda asked: Said(200, failed)) as web:
        done = run("jobs", verb, "job_1", "--json", url=web.url)
    assert done.returncode == 1
    assert json.loads(done.stdout) == failed
    assert "[too_few_rows]" in done.stderr


def test_the_upload_of_a_rejected_file_prints_the_dataset(tmp_path: Path) -> None:
    error = {"code": "empty_file", "message": "The file is empty."}
    rejected = {"id": "ds_1", "status": "rejected", "error": error, "job_id": "job_1"}
    failed = JOB | {"kind": "ingest", "state": "failed", "error": error}

    def answer(asked: Asked) -> Said:
        return Said(200, failed if "/jobs/" in asked.path else rejected)

    (tmp_path / "a.csv").write_text("a\n1\n")
    with serving(answer) as web:
        done = run("datasets", "upload", str(tmp_path / "a.csv"), "--json", url=web.url)
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout) == rejected


def test_a_key_that_cannot_be_sent_is_a_sentence() -> None:
    done = run("jobs", "list", MINTAGE_API_KEY="schlüssel")
    assert done.returncode == 1
    assert "MINTAGE_API_KEY" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["generate", "mdl_1"], ["generate", "mdl_1", "--count", "many"], ["train"], ["fly"],
        ["generate", "mdl_1", "--count", "1", "--where", "income"],
        ["generate", "mdl_1", "--option", "truncation"],
        ["generate", "mdl_1", "--option", "edit=1", "--option", "edit.direction=3"],
        ["generate", "mdl_1", "--option", "edit..direction=3"],
        ["generate", "mdl_1", "--count", "1", "--where", "a=1", "--where", "a=2"],
        ["train", "ds_1", "--set", "=3"], ["up", "--port", "0"], ["demo", "sounds"],
    ],
)  # fmt: skip
def test_wrong_usage_is_status_two(arguments: list[str]) -> None:
    assert run(*arguments).returncode == 2


def test_options_become_the_request_that_they_say() -> None:
    asked: list[Asked] = []

    def answer(request: Asked) -> Said:
        asked.append(request)
        return Said(201, JOB)

    with serving(answer) as web:
        run(
            "train", "ds_1", "--preset", "draft", "--steps", "30", "--seed", "4", "--name", "x", "--time-limit", "60",
            "--set", "width=64", "--set", "penalty=finite", "--no-wait", url=web.url,
        )  # fmt: skip
        run(
            "generate", "mdl_1", "--count", "9", "--format", "csv", "--where", "income=>50K", "--where", "a=b=c",
            "--option", "truncation=0.7", "--option", "edit.looks=3", "--option", "edit.strength=-1.5",
            "--no-wait", url=web.url,
        )  # fmt: skip
    assert asked[0].json == {
        "kind": "train", "dataset_id": "ds_1", "name": "x",
        "config": {
            "preset": "draft", "steps": 30, "seed": 4, "time_limit_seconds": 60, "width": 64, "penalty": "finite",
        },
    }  # fmt: skip
    assert asked[1].json == {
        "kind": "generate", "model_id": "mdl_1", "count": 9, "format": "csv",
        "conditions": {"income": ">50K", "a": "b=c"},
        "options": {"truncation": 0.7, "edit": {"looks": 3, "strength": -1.5}},
    }  # fmt: skip


def test_without_any_server_it_says_how_to_start_one(tmp_path: Path) -> None:
    done = run("jobs", "list", "--data-dir", str(tmp_path))
    assert done.returncode == 1
    assert "mintage up" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_data_directory_that_is_named_wins_over_the_environments_server(tmp_path: Path) -> None:
    with serving(lambda asked: Said(200, {"data": []})) as web:
        (tmp_path / "server.json").write_text(json.dumps({"url": web.url, "api_key": "other"}))
        done = run("--data-dir", str(tmp_path), "jobs", "list", url=f"http://127.0.0.1:{free_ports(1)[0]}")
        assert done.returncode == 0
        assert web.asked[0].headers["authorization"] == "Bearer other"


def test_settings_are_json_where_they_can_be_and_text_otherwise() -> None:
    assert settings(["a=1", "b=true", "c=x", "d=[1]", "e=null"]) == {"a": 1, "b": True, "c": "x", "d": [1], "e": None}
    with pytest.raises(typer.BadParameter):
        pairs(["nothing"], "--where")


def test_sizes_are_said_as_people_say_them() -> None:
    assert [size(0), size(999), size(1_500), size(3_200_000_000)] == ["0 bytes", "999 bytes", "1.5 kB", "3.2 GB"]


def test_reports_of_unknown_modalities_and_broken_ones_are_shown_as_far_as_they_go() -> None:
    console = Console(width=140)
    for report, expected in [
        ({}, ""),
        ({"verdict": "Fine [really]."}, "Fine [really]."),
        ({"shape": 0.9, "c2st_auc": 0.6, "real_rows": {"shape": 0.99}, "independent_columns": {"shape": 0.5}}, "0.990"),
        ({"figures": {"coverage": 0.8}, "meaning": {"coverage": "how much"}, "ceiling": {"coverage": 0.91}}, "0.910"),
    ]:
        with console.capture() as shown:
            console.print(headline(report))
        assert expected in shown.get()
