"""Cards of models and outputs: what they tell, what they keep to themselves, and that Croissant's rules are kept."""

import json
from hashlib import sha256
from typing import Any

import pytest
import yaml

from service.domain import croissant, data_card, markdown, model_card
from service.domain.data_card import Made

PARTS = [
    {"key": "a", "rows": 90, "split": "train", "sha256": "1" * 64},
    {"key": "b", "rows": 10, "split": "holdout", "sha256": "2" * 64},
]
DATASET = {"schema": {}, "rows": 100, "parts": PARTS}
TABLE = {
    "modality": "table",
    "columns": [
        {"name": "age", "type": "integer", "arrow": "int64"},
        {"name": "a | b", "type": "category", "arrow": "string"},
        {"name": "home.city", "type": "category", "arrow": "string"},
    ],
    "layout": {"nested": {"home.city": ["home", "city"]}},
}
PICTURES = {"modality": "images", "height": 8, "width": 8, "channels": 1, "classes": ["cat", "dog"]}
REPORT = {"verdict": "Hardly.", "shape": 0.9876, "dcr_share": 0.51, "real_rows": {"shape": 0.99}, "rows": {"drawn": 90}}


def manifest(format: str = "parquet", files: int = 1, **more: Any) -> dict[str, Any]:
    suffix = {"webdataset": "tar"}.get(format, format)
    named = [
        {"name": f"part-{i:05d}.{suffix}", "key": "k", "bytes": 5, "sha256": f"{i:064d}", "rows": 10}
        for i in range(files)
    ]
    return {
        "job_id": "job_1", "model_id": "mdl_1", "modality": "table", "format": format, "count": 10 * files, "seed": 3,
        "conditions": {}, "created_at": "2026-05-04T09:30:00.123Z", "files": named, **more,
    }  # fmt: skip


def described(made: dict[str, Any], schema: dict[str, Any] = TABLE, license: str | None = None) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(croissant.metadata(made, schema, "n", "d", license))
    return told


def card(report: dict[str, Any] = REPORT, private: bool = False, **named: Any) -> str:
    told = model_card.provenance(DATASET, named, private)
    return model_card.model_card("table", {"seed": 7}, report, told, ["card.md", "report.json"]).decode()


def front(text: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text.split("---\n")[1])
    return found


def test_a_models_card_says_what_it_was_made_of_and_how_good_it_is() -> None:
    text = card(name="adult", license="CC-BY-4.0")
    assert front(text) == {
        "license": "cc-by-4.0", "library_name": "mintage", "tags": ["synthetic-data", "gan", "tabular"],
    }  # fmt: skip
    assert sha256(f"{'1' * 64}\n".encode()).hexdigest() in text  # of the training part alone
    for told in (
        "adult",
        "Hardly.",
        "0.9876",
        "0.99",
        "51.0%",
        '"seed": 7',
        "| of these holdout | 10 |",
        "do not prove",
    ):
        assert told in text
    assert text == card(name="adult", license="CC-BY-4.0")


def test_a_private_models_card_tells_no_hash_of_its_rows() -> None:
    report = {"verdict": "V.", "privacy": {"epsilon": 2.0, "epsilon_spent": 1.5, "delta": 1e-5, "covers": "all files"}}
    text = card(report, private=True)
    assert model_card.training_hash(PARTS) not in text
    assert "epsilon 1.5 of 2 spent" in text
    assert "one training row" in text


@pytest.mark.parametrize(
    ("license", "tags"),
    [
        (None, {"license": "unknown"}),
        ("MIT", {"license": "mit"}),
        ("ODbL-1.0", {"license": "odbl"}),
        ("LicenseRef-Ours", {"license": "other", "license_name": "LicenseRef-Ours"}),
    ],
)
def test_licences_are_told_as_hubs_want_them(license: str | None, tags: dict[str, str]) -> None:
    text = card(license=license)
    assert front(text).items() >= tags.items()
    assert (markdown.LICENSE_UNKNOWN in text) == (license is None)


def test_names_cannot_break_out_of_a_card() -> None:
    text = card(name="x |\n# <script>alert(1)</script> [a](http://b)")
    assert "<script" not in text.replace("\\<script", "")
    assert "\n# \\<" not in text
    assert "](" not in text.replace("\\](", "")


@pytest.mark.parametrize(
    ("made", "schema"),
    [
        (manifest(), TABLE),
        (manifest("csv", 3), TABLE),
        (manifest("jsonl"), TABLE),
        (manifest("zip", 2), PICTURES),
        (manifest("webdataset"), PICTURES),
        (manifest("parquet", 2), PICTURES),
        (manifest("png"), PICTURES),
        (manifest(scored={"verdict": "V."}), TABLE),
        (manifest(augmented={"flag": "is_synthetic"}), TABLE),
        (manifest("csv"), {}),
    ],
)
def test_croissant_has_what_its_specification_asks_for(made: dict[str, Any], schema: dict[str, Any]) -> None:
    told = described(made, schema, "MIT")
    assert told["@type"] == "sc:Dataset"
    assert told["conformsTo"] == "http://mlcommons.org/croissant/1.0"
    assert {"@context", "name", "description", "distribution", "recordSet", "license", "datePublished"} <= told.keys()
    objects = [one for one in told["distribution"] if one["@type"] == "cr:FileObject"]
    assert [(one["contentUrl"], one["sha256"]) for one in objects] == [
        (file["name"], file["sha256"]) for file in made["files"]
    ]
    assert all({"name", "encodingFormat", "contentSize"} <= one.keys() for one in objects)
    sources = {one["@id"] for one in told["distribution"]}
    for one in told["distribution"]:
        assert one["@type"] == "cr:FileObject" or {"includes", "encodingFormat"} <= one.keys()
        assert all(within["@id"] in sources for within in one.get("containedIn", []))
    ids = [*sources, *(field["@id"] for records in told["recordSet"] for field in records["field"])]
    assert len(ids) == len(set(ids))
    for records in told["recordSet"]:
        assert records["field"]
        for field in records["field"]:
            source = field["source"]
            assert (source.get("fileObject") or source["fileSet"])["@id"] in sources
            assert field["dataType"].startswith("sc:")


def test_croissant_knows_columns_their_types_and_where_they_are() -> None:
    fields = described(manifest("jsonl"))["recordSet"][0]["field"]
    assert [(field["name"], field["dataType"]) for field in fields] == [
        ("age", "sc:Integer"), ("a | b", "sc:Text"), ("home.city", "sc:Text"),
    ]  # fmt: skip
    assert fields[2]["source"]["extract"] == {"column": "home"}
    flat = described(manifest("csv", augmented={"flag": "is_synthetic"}))["recordSet"][0]["field"]
    assert flat[2]["source"]["extract"] == {"column": "home.city"}
    assert (flat[3]["name"], flat[3]["dataType"]) == ("is_synthetic", "sc:Boolean")


def test_an_outputs_card_tells_its_files_and_whether_real_rows_are_in_them() -> None:
    report = REPORT | {"provenance": model_card.provenance(DATASET, {"name": "adult"}, False).to_json()}
    made = Made("m", "table", TABLE, report)
    text = data_card.data_card(manifest("csv", 2), made).decode()
    assert front(text)["configs"] == [{"config_name": "default", "data_files": "part-*.csv"}]
    assert front(text)["license"] == "unknown"
    assert front(text)["size_categories"] == ["n<1K"]
    for told in ("part-00001.csv", "Hardly.", "mdl\\_1", "adult", model_card.training_hash(PARTS), "a \\| b"):
        assert told in text
    assert data_card.REAL not in text
    told = {"flag": "is_synthetic", "real_rows": 5, "synthetic_rows": 6, "verdict": "It helped."}
    mixed = data_card.data_card(manifest("csv", augmented=told), made).decode()
    assert mixed.count(data_card.REAL) == 2
    assert "It helped." in mixed


def test_an_output_of_a_model_without_a_report_has_cards_too() -> None:
    text = data_card.data_card(manifest("csv"), Made("m", "tiny", {}, {})).decode()
    assert "What the model was trained on was not noted." in text
    assert "No distance to training records was measured." in text
