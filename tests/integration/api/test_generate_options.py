"""A generation's options: what each modality takes, what follows from them, and what is refused."""

import json
from typing import Any

import pytest

from service.usecases import units
from tests.integration.api.conftest import Api, refused

PICTURES = {"modality": "images", "height": 64, "width": 48, "channels": 4, "classes": ["3", "8"]}
WHOLE: dict[str, Any] = {"truncation": 1.0, "interpolate": None, "mix": None, "edit": None, "sheet": None}


def pictures(lite: Api, **schema: Any) -> str:
    """A dataset of pictures as a worker has read it."""
    found = lite.uploaded()
    claimed = lite.claim(found["job_id"])
    changed = {"modality": "images", "rows": 20, "schema": PICTURES | schema}
    assert units.finish(lite.context, claimed.unit_id, claimed.attempt, lite.result(claimed) | changed)
    return str(found["id"])


def model(lite: Api, **schema: Any) -> str:
    job = lite.submit(kind="train", dataset_id=pictures(lite, **schema), config={"preset": "draft"})
    lite.work(job["id"])
    return str(job["model_id"])


def generate(lite: Api, model_id: str, body: dict[str, Any]) -> Any:
    # NaN and Infinity as well, which are not JSON and which Python reads all the same
    sent = json.dumps({"kind": "generate", "model_id": model_id} | body)
    return lite.http.post("/v1/jobs", content=sent, headers={"Content-Type": "application/json"})


def test_options_reach_the_worker_whole_and_count_and_format_follow(lite: Api, subtests: pytest.Subtests) -> None:
    model_id = model(lite)
    film = {"seeds": [1, 2, 3], "labels": ["3", 8], "frames": 30, "loop": True}
    asked: list[tuple[dict[str, Any], int, str]] = [
        ({"count": 5}, 5, "zip"),
        ({"count": 5, "options": {"truncation": 0.7}}, 5, "zip"),
        ({"options": {"interpolate": film}, "format": "webp"}, 30, "webp"),
        ({"options": {"interpolate": film}, "count": 30}, 30, "zip"),
        ({"options": {"sheet": {"directions": 3, "steps": 5}}}, 15, "png"),
        ({"options": {"sheet": {"directions": 3, "steps": 5}}, "format": "zip"}, 15, "zip"),
        ({"options": {"mix": {"coarse": 1, "fine": 2}}}, 1, "zip"),
        ({"options": {"mix": {"coarse": 1}, "edit": {"towards": "8"}}, "count": 9}, 9, "zip"),
    ]
    for body, count, form in asked:
        with subtests.test(body=body):
            job = generate(lite, model_id, body).json()
            assert (job["spec"]["count"], job["spec"]["format"]) == (count, form)
            options = lite.claim(job["id"]).payload["options"]
            assert set(options) == set(WHOLE)
            for name, value in (WHOLE | body.get("options", {})).items():
                assert value == options[name] or value.items() <= options[name].items()


def test_the_manifest_says_with_which_options(lite: Api) -> None:
    job = generate(lite, model(lite), {"count": 5, "options": {"truncation": 0.5}}).json()
    lite.work(job["id"])
    assert lite.get(f"/v1/jobs/{job['id']}/output")["options"] == WHOLE | {"truncation": 0.5}


REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("count", {"options": {"truncation": 0.5}}),
    ("options.colour", {"count": 5, "options": {"colour": "green"}}),
    ("options.edit.colour", {"count": 5, "options": {"edit": {"direction": 1, "colour": 3}}}),
    ("options.truncation", {"count": 5, "options": {"truncation": 1.5}}),
    ("", {"count": 5, "options": {"truncation": float("nan")}}),
    ("options.truncation", {"count": 5, "options": {"truncation": "0.5"}}),
    ("options.edit", {"count": 5, "options": {"edit": {}}}),
    ("options.edit", {"count": 5, "options": {"edit": {"direction": 1, "towards": "8"}}}),
    ("options.edit.direction", {"count": 5, "options": {"edit": {"direction": 64}}}),
    ("options.edit.direction", {"count": 5, "options": {"edit": {"direction": -1}}}),
    ("", {"count": 5, "options": {"edit": {"direction": 1, "strength": float("nan")}}}),
    ("", {"count": 5, "options": {"edit": {"direction": 1, "strength": float("inf")}}}),
    ("options.edit.strength", {"count": 5, "options": {"edit": {"direction": 1, "strength": 1e9}}}),
    ("options.edit.towards", {"count": 5, "options": {"edit": {"towards": "seven"}}}),
    ("options.edit.looks", {"count": 5, "options": {"edit": {"looks": "old"}}}),
    ("options.interpolate", {"options": {"interpolate": {"seeds": [1]}}}),
    ("options.interpolate", {"options": {"interpolate": {"seeds": [1, 2, 3], "frames": 2}}}),
    ("options.interpolate.frames", {"options": {"interpolate": {"seeds": [1, 2], "frames": 10_000}}}),
    ("options.interpolate.seeds.1", {"options": {"interpolate": {"seeds": [1, -2]}}}),
    ("options.interpolate.seeds.0", {"options": {"interpolate": {"seeds": [2**63, 2]}}}),
    ("options.interpolate.labels.1", {"options": {"interpolate": {"labels": ["3", "seven"]}}}),
    ("count", {"count": 7, "options": {"interpolate": {"seeds": [1, 2]}}}),
    ("conditions.label", {"conditions": {"label": "3"}, "options": {"interpolate": {"labels": ["3", "8"]}}}),
    ("options.mix", {"count": 5, "options": {"mix": {}}}),
    ("count", {"count": 5, "options": {"mix": {"coarse": 1, "fine": 2}}}),
    ("options.mix", {"options": {"mix": {"coarse": 1}, "interpolate": {"seeds": [1, 2]}}}),
    ("options.edit", {"options": {"sheet": {}, "edit": {"direction": 1}}}),
    ("options.sheet.strength", {"options": {"sheet": {"strength": 0}}}),
    ("count", {"count": 5_000, "format": "png"}),
    ("count", {"count": 5_000, "format": "webp"}),
]


def test_what_cannot_be_is_refused_where_it_stands(lite: Api, subtests: pytest.Subtests) -> None:
    model_id = model(lite)
    for path, body in REFUSED:
        with subtests.test(path=path, body=body):
            problem = refused(generate(lite, model_id, body), 422, "invalid_request")
            assert path in [error["path"] for error in problem["errors"]]
            assert len(problem["detail"]) > 20


def test_without_classes_none_can_be_named(lite: Api) -> None:
    problem = refused(generate(lite, model(lite, classes=None), {"count": 1, "options": {"edit": {"towards": "3"}}}),
                      422, "invalid_request")  # fmt: skip
    assert "no labels" in problem["detail"]


def test_given_pictures_are_projected_and_only_edited(lite: Api, subtests: pytest.Subtests) -> None:
    model_id, given = model(lite), pictures(lite, height=20, classes=None)
    for body, count in (({}, 20), ({"count": 2}, 2), ({"copies": 3, "format": "png"}, 60)):
        job = generate(lite, model_id, body | {"given": given, "options": {"edit": {"direction": 0}}}).json()
        assert job["spec"]["count"] == count
    for path, body in (
        ("options.truncation", {"options": {"truncation": 0.5}}),
        ("options.interpolate", {"options": {"interpolate": {"seeds": [1, 2]}}}),
        ("options.sheet", {"options": {"sheet": {}}}),
        ("format", {"format": "webp"}),
        ("count", {"copies": 6}),
    ):
        with subtests.test(path=path):
            problem = refused(generate(lite, model_id, body | {"given": given}), 422, "invalid_request")
            assert [error["path"] for error in problem["errors"]] == [path]


def test_tables_take_none(lite: Api) -> None:
    problem = refused(
        generate(lite, lite.model(), {"count": 5, "options": {"truncation": 0.5}}), 422, "invalid_request"
    )
    assert problem["errors"] == [{"path": "options.truncation", "message": "There is no field of this name."}]
    job = lite.submit(kind="generate", model_id=lite.model(), count=5, options={})
    assert "options" not in job["spec"]


def test_modalities_show_them_as_json_schema(lite: Api) -> None:
    found = {one["name"]: one["generate_options"] for one in lite.get("/v1/modalities")["data"]}
    assert found["table"]["properties"] == {}
    assert found["table"]["additionalProperties"] is False
    assert set(found["images"]["properties"]) == set(WHOLE)
