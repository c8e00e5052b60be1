"""Conditions as people type them, and what the API is asked for."""

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from mintage.cli.app import app
from mintage.cli.conditions import conditions
from tests.unit.client.web import Asked, Said, Web, serving, talking

READ: list[tuple[list[str], dict[str, Any]]] = [
    (["income=>50K"], {"income": ">50K"}),
    (["income=<=50K"], {"income": "<=50K"}),
    (["a=b=c", "d="], {"a": "b=c", "d": ""}),
    (["first name= Ann in Oslo"], {"first name": " Ann in Oslo"}),
    (["age>=30"], {"age": {"min": "30"}}),
    (["age > 30", "age<65.5"], {"age": {"above": "30", "below": "65.5"}}),
    (["born>=2001-02-03T10:00", "born <= 2002-01-01"], {"born": {"min": "2001-02-03T10:00", "max": "2002-01-01"}}),
    (["t>=-5"], {"t": {"min": "-5"}}),
    (["state in CA, NY"], {"state": {"in": ["CA", "NY"]}}),
    (['state in "New York, NY",CA'], {"state": {"in": ["New York, NY", "CA"]}}),
    (["income in <=50K,>50K"], {"income": {"in": ["<=50K", ">50K"]}}),
    (["income:share=>50K:0.5,<=50K:0.5"], {"income": {"share": {">50K": 0.5, "<=50K": 0.5}}}),
    (["time:share=08:30:.25,09:00:.75"], {"time": {"share": {"08:30": 0.25, "09:00": 0.75}}}),
    (["wind is missing"], {"wind": None}),
    (['"a=b in c">3'], {"a=b in c": {"above": "3"}}),
    (['"say \\"hi\\"" in 1'], {'say "hi"': {"in": ["1"]}}),
]


@pytest.mark.parametrize(("where", "expected"), READ)
def test_a_condition_is_read_as_it_is_meant(where: list[str], expected: dict[str, Any]) -> None:
    assert conditions(where, None) == expected


@pytest.mark.parametrize(
    "where",
    [
        ["income"], ["=5"], [""], ["a=1", "a=2"], ["a>1", "a>2"], ["a>1", "a=2"], ["a:share=x"], ["a:share=x:much"],
        ['"a'],
    ],
)  # fmt: skip
def test_what_is_no_condition_is_wrong_usage(where: list[str]) -> None:
    with pytest.raises(typer.BadParameter):
        conditions(where, None)


def test_a_file_of_conditions_goes_together_with_those_that_are_typed(tmp_path: Path) -> None:
    path = tmp_path / "conditions.json"
    path.write_text(json.dumps({"zip": 7, "age": {"min": 3}}))
    assert conditions(["age<9", "a=b"], path) == {"zip": 7, "age": {"min": 3, "below": "9"}, "a": "b"}
    with pytest.raises(typer.BadParameter, match="two conditions on 'zip'"):
        conditions(["zip=8"], path)


@pytest.mark.parametrize("content", ["", "[]", "{", '"a"', None])
def test_a_file_that_holds_no_conditions_is_wrong_usage(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "conditions.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(typer.BadParameter) as refused:
        conditions([], path)
    assert refused.value.param_hint == "--conditions"


# -- rows to complete ---------------------------------------------------------------------------------------------


def server(asked: Asked) -> Said:
    """A server that reads uploads at once."""
    if asked.path == "/v1/jobs":
        return Said(201, {"id": "job_1", "kind": "generate", "state": "queued", "progress": {"fraction": 0}})
    return Said(201 if asked.method == "POST" else 200, {"id": "ds_7", "status": "ready"})


def run(web: Web, *arguments: str) -> int:
    runner = CliRunner(env={"MINTAGE_URL": web.url, "MINTAGE_API_KEY": "key"})
    return runner.invoke(app, ["generate", "mdl_1", "--no-wait", *arguments]).exit_code


def test_a_file_of_rows_is_uploaded_and_completed(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("age,income\n39,\n")
    more = tmp_path / "more.json"
    more.write_text('{"state": {"in": ["CA", null]}}')
    with serving(server) as web:
        assert run(
            web, "--complete", str(path), "--copies", "3", "--where", "age>30", "--conditions", str(more),
        ) == 0  # fmt: skip
        assert run(web, "--complete", "ds_9", "--count", "5") == 0
    bodies = [one.json for one in web.asked if one.path == "/v1/jobs"]
    conditions = {"state": {"in": ["CA", None]}, "age": {"above": "30"}}
    assert bodies == [
        {"kind": "generate", "model_id": "mdl_1", "given": "ds_7", "copies": 3, "conditions": conditions},
        {"kind": "generate", "model_id": "mdl_1", "given": "ds_9", "count": 5},
    ]
    assert [one.body for one in web.asked if one.method == "PUT"] == [path.read_bytes()]


def test_a_file_of_rows_that_is_not_there_and_a_missing_count_are_said_at_once(tmp_path: Path) -> None:
    with serving(server) as web:
        assert run(web, "--complete", str(tmp_path / "rows.csv")) == 1
        assert run(web) == 2
        assert run(web, "--complete", "ds_9", "--copies", "0") == 2
    assert web.asked == []


def test_from_python_the_rows_are_a_path_or_a_dataset(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("age\n39\n")
    with talking(server) as (web, client):
        client.generate("mdl_1", given=path)
        client.generate("mdl_1", given=client.datasets.get("ds_7"), copies=2)
        client.generate("mdl_1", 3, given="ds_9")
    bodies = [one.json for one in web.asked if one.path == "/v1/jobs"]
    assert [body["given"] for body in bodies] == ["ds_7", "ds_7", "ds_9"]
    assert [body.get("count") for body in bodies] == [None, None, 3]
