"""What the service knows of images without opening one."""

import numpy as np
import pytest

from service.errors import InvalidCondition
from workers.modalities.images.spec import SPEC, kind

from .helpers import encoded, noise, tarred, zipped

SCHEMA = {"modality": "images", "height": 16, "width": 16, "channels": 1, "classes": ["0", "7", "cat"]}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (zipped({"a.png": b"x"}), "zip"),
        (zipped({}), "zip"),
        (tarred({"a.png": b"x"}), "tar"),
        (tarred({"a.png": b"x"}, "w:gz"), "tar.gz"),
        (b"age,income\n1,2\n", None),
        (encoded(noise(0)), None),
        (b"", None),
        (b"\x1f\x8b\x08" + bytes(100), None),
        (bytes(512), None),
    ],
    ids=["zip", "empty zip", "tar", "tar.gz", "csv", "png", "nothing", "no gzip", "zeros"],
)
def test_an_archive_is_known_by_its_first_bytes(content: bytes, expected: str | None) -> None:
    assert kind(content[:512]) == expected
    assert SPEC.recognises(content[:512], "upload.csv") == (expected is not None)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_a_picture_alone_is_known_unless_it_is_called_something_else(form: str) -> None:
    head = encoded(noise(0), form)[:512]
    assert all(SPEC.recognises(head, name) for name in ("a.png", "A.JPG", "upload", "v1.2/photo.webp"))
    assert not any(SPEC.recognises(head, name) for name in ("a.csv", "a.zip", "a.parquet"))
    assert not SPEC.recognises(b"BMW,Audi\n1,2\n" * 40, "cars")


def test_a_compressed_table_or_a_spreadsheet_is_not_taken_for_pictures() -> None:
    import gzip

    assert not SPEC.recognises(gzip.compress(b"age,income\n" * 100)[:512], "adult.csv.gz")
    assert not SPEC.recognises(zipped({"xl/workbook.xml": b"x"})[:512], "book.xlsx")


@pytest.mark.parametrize("value", ["cat", "7", 7, 0, {"in": ["cat", 7]}, {"cat": 0.5, "7": 0.5}, {"share": {"0": 1}}])
def test_a_known_class_can_be_asked_for_by_name_or_number(value: object) -> None:
    SPEC.check_conditions(SCHEMA, {"label": value}, {})


@pytest.mark.parametrize(
    "value", ["dog", "07", 8, 7.0, True, False, None, ["cat"], {"a": 1}, "", {"in": []}, {"cat": 2}, {"min": 0}]
)
def test_an_unknown_class_is_refused_with_its_path(value: object) -> None:
    with pytest.raises(InvalidCondition) as refused:
        SPEC.check_conditions(SCHEMA, {"label": value}, {})
    assert [error["path"] for error in refused.value.errors] == ["conditions.label"]
    assert "'cat'" in refused.value.errors[0]["message"]


def test_only_the_label_can_be_asked_for_and_only_where_there_are_labels() -> None:
    with pytest.raises(InvalidCondition) as refused:
        SPEC.check_conditions(SCHEMA, {"colour": "red"}, {})
    assert refused.value.errors[0]["path"] == "conditions.colour"
    with pytest.raises(InvalidCondition):
        SPEC.check_conditions({**SCHEMA, "classes": None}, {"label": "cat"}, {})
    SPEC.check_conditions({**SCHEMA, "classes": None}, {}, {})


def test_the_shard_size_is_whole_chunks() -> None:
    from workers.modalities.images.modality import CHUNK

    assert np.mod(SPEC.shard_samples, CHUNK) == 0
