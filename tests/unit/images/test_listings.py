"""Labels, attributes and captions that files tell: a CSV among the pictures, WebDataset, Parquet."""

import contextlib
import io
import json
import tarfile
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from service.errors import Rejected
from workers.modalities.images.codec import Codec
from workers.modalities.images.columnar import Parquet, holds_pictures
from workers.modalities.images.files import Pictures
from workers.modalities.images.outputs import write_parquet, write_webdataset, write_zip
from workers.modalities.images.sources import Found
from workers.modalities.images.spec import SPEC
from workers.work.ingest import recognised

from .helpers import encoded, everything, ingested, noise, pngs, tarred, zipped


def named(count: int = 24) -> list[str]:
    return list(pngs(count))


def listed(lines: list[str], header: str, encoding: str = "utf-8", end: str = "\n") -> bytes:
    return end.join([header, *lines, ""]).encode(encoding)


def parquet(columns: dict[str, Any], metadata: dict[str, str] | None = None, rows: int | None = None) -> bytes:
    out = io.BytesIO()
    table = pa.table(columns)
    pq.write_table(table.replace_schema_metadata(metadata), out, row_group_size=rows)
    return out.getvalue()


def structs(count: int) -> pa.Array:
    """Pictures as Hugging Face datasets keeps them."""
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return pa.array([{"bytes": encoded(noise(i)), "path": f"{i}.png"} for i in range(count)], kind)


@pytest.mark.parametrize("place", ["labels.csv", "metadata.csv", "top/labels.csv", "train.csv"])
@pytest.mark.parametrize("column", ["file", "file_name", "filename", "image", "path"])
def test_a_csv_among_the_pictures_tells_their_labels(place: str, column: str, tmp_path: Path) -> None:
    lines = [f"{name},{'night' if i % 3 else 'day'}" for i, name in enumerate(named())]
    found, data = ingested(tmp_path, zipped({**pngs(24), place: listed(lines, f"{column},label")}))
    assert found.schema["classes"] == ["day", "night"]
    assert everything(data)[1].tolist() == [int(i % 3 > 0) for i in range(24)]
    assert found.warnings == []
    assert "attributes" not in found.schema


@pytest.mark.parametrize(
    ("encoding", "header", "split", "end"),
    [
        ("utf-8-sig", "file;label", ";", "\r\n"),
        ("utf-16", "file\tlabel", "\t", "\n"),
        ("cp1252", "file,label", ",", "\n"),
    ],
)
def test_a_csv_is_read_however_a_spreadsheet_wrote_it(
    encoding: str, header: str, split: str, end: str, tmp_path: Path
) -> None:
    lines = [f"{name}{split}{'Käse' if i % 2 else 'Brot'}" for i, name in enumerate(named())]
    found, _ = ingested(tmp_path, tarred({**pngs(24), "labels.csv": listed(lines, header, encoding, end)}))
    assert found.schema["classes"] == ["Brot", "Käse"]


def test_a_csv_may_name_pictures_by_path_by_file_name_or_without_extension(tmp_path: Path) -> None:
    members = pngs(24, ("top/images/",))
    for form, name in {
        "path": "images/{:04d}.png",
        "dotted": "./images/{:04d}.png",
        "windows": "images\\{:04d}.png",
        "base": "{:04d}.png",
        "stem": "{:04d}",
    }.items():
        lines = [f"{name.format(i)},{i % 2}" for i in range(24)]
        content = zipped({**members, "top/labels.csv": listed(lines, "image,label")})
        found, data = ingested(tmp_path / form, content)
        assert found.schema["classes"] == ["0", "1"], form
        assert everything(data)[1].tolist() == [0, 1] * 12, form


def test_a_file_wins_over_folders_unless_the_folders_are_asked_for(tmp_path: Path) -> None:
    members = pngs(24, ("a/", "b/"))
    lines = [f"{name},{'x' if i < 8 else 'y'}" for i, name in enumerate(members)]
    content = zipped({**members, "labels.csv": listed(lines, "file,label")})
    for labels, classes in ((None, ["x", "y"]), ("file", ["x", "y"]), ("folders", ["a", "b"]), ("none", None)):
        found, _ = ingested(tmp_path / str(labels), content, labels=labels)
        assert found.schema["classes"] == classes


def test_absent_files_repeated_lines_and_pictures_without_a_label_are_counted(tmp_path: Path) -> None:
    lines = [f"{name},{'ab'[i % 2]}" for i, name in enumerate(named())]
    lines = [*lines[:-2], "0000.png,b", "gone1.png,a", "gone2.png,gone", "gone2.png,gone"]
    found, data = ingested(tmp_path, zipped({**pngs(24), "labels.csv": listed(lines, "file,label")}))
    assert found.schema["classes"] == ["a", "b"], "a class of absent pictures is none"
    assert everything(data)[1].tolist() == [0, 1] * 11, "the first line of a picture counts"
    assert found.rows == 22
    assert found.warnings == [
        "labels.csv names 2 pictures that the archive does not have.",
        "2 lines of labels.csv name a picture again; the first line of each counts.",
        "2 pictures of which 'label' says nothing were left out.",
    ]


def test_a_file_name_in_several_folders_is_nobodys_label(tmp_path: Path) -> None:
    members = {f"{part}/{i:02d}.png": encoded(noise(i)) for i in range(30) for part in ("x", "y")[: 2 if i < 2 else 1]}
    lines = [f"{i:02d}.png,{'ab'[i % 2]}" for i in range(30)]
    found, _ = ingested(tmp_path, zipped({**members, "labels.csv": listed(lines, "file,label")}))
    assert found.rows == 28
    assert any("4 pictures have a file name that occurs in several folders" in warning for warning in found.warnings)


def test_the_same_name_twice_in_an_archive_is_two_pictures(tmp_path: Path) -> None:
    out = io.BytesIO(tarred(pngs(24)))
    with tarfile.open(fileobj=out, mode="a") as packed:
        info, again = tarfile.TarInfo("0003.png"), encoded(noise(77))
        info.size = len(again)
        packed.addfile(info, io.BytesIO(again))
    found, data = ingested(tmp_path, out.getvalue())
    assert found.rows == 25
    assert (everything(data)[0][-1, ..., 0] == noise(77)).all()
    assert any("1 file names occur again" in warning for warning in found.warnings)


ATTRIBUTES = [f"{i:04d}.png,{(-1, 1)[i % 2]},{('red', 'blue', 'green')[i % 3]},{20 + i / 2},same" for i in range(120)]


def attributed() -> bytes:
    return zipped({**pngs(120), "list.csv": listed(ATTRIBUTES, "image_id,Smiling,colour,age,constant")})


def test_several_attributes_are_kept_beside_each_picture(tmp_path: Path) -> None:
    found, data = ingested(tmp_path, attributed())
    assert found.schema["classes"] is None
    assert found.schema["attributes"] == [
        {"name": "Smiling", "type": "boolean", "levels": ["-1", "1"]},
        {"name": "colour", "type": "category", "levels": ["blue", "green", "red"]},
        {"name": "age", "type": "number", "minimum": 20.0, "maximum": 79.5},
    ]
    assert "label_column" in found.warnings[0]
    for split in ("train", "holdout"):
        mine = Pictures(data, split)
        assert mine.attributes.shape == (len(mine), 3)
        index = np.rint((mine.attributes[:, 2] - 20) * 2).astype(int)
        assert (mine.attributes[:, 0] == index % 2).all()
        assert (mine.attributes[:, 1] == np.array([2, 0, 1])[index % 3]).all()
        taken = mine.take(np.arange(len(mine)))
        assert all((picture[..., 0] == noise(i)).all() for picture, i in zip(taken, index.tolist(), strict=True))
    told = {one["name"]: one for one in found.profile["attributes"]}
    assert told["colour"]["counts"] == {"blue": 40, "green": 40, "red": 40}
    assert told["age"]["quantiles"][0] == 20.0


def test_label_column_chooses_the_class_and_the_others_stay(tmp_path: Path) -> None:
    found, data = ingested(tmp_path, attributed(), label_column="colour")
    assert found.schema["classes"] == ["blue", "green", "red"]
    assert [one["name"] for one in found.schema["attributes"]] == ["Smiling", "age"]
    train = Pictures(data, "train")
    index = np.rint((train.attributes[:, 1] - 20) * 2).astype(int)
    assert (train.labels == np.array([2, 0, 1])[index % 3]).all()


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"label_column": "hair"}, "invalid_options"),
        ({"labels": "file"}, "no_labels"),
        ({"label_column": "age"}, "too_many_classes"),
    ],
)
def test_what_the_file_cannot_give_is_refused(options: dict[str, Any], code: str, tmp_path: Path) -> None:
    with pytest.raises(Rejected) as refused:
        ingested(tmp_path, attributed(), **options)
    assert refused.value.code == code
    with pytest.raises(ValueError, match="label_column"):
        SPEC.dataset_options(label_column="a", labels="folders")  # type: ignore[call-arg]


def test_captions_are_kept_for_later(tmp_path: Path) -> None:
    lines = [f'{name},"a dog, no {i}"' for i, name in enumerate(named())]
    found, data = ingested(tmp_path, zipped({**pngs(24), "metadata.csv": listed(lines, "file_name,text")}))
    assert found.schema["classes"] is None
    assert found.profile["captions"] == 24
    assert Pictures(data, "train").captions(2, 4) == ["a dog, no 2", "a dog, no 3"]


@pytest.mark.parametrize(
    "order", [("png", "cls", "json", "txt"), ("cls", "json", "png", "txt"), ("txt", "json", "cls", "png")]
)
def test_webdataset_samples_are_read_in_any_order_of_their_files(order: tuple[str, ...], tmp_path: Path) -> None:
    members = dict[str, bytes]()
    for i in range(24):
        beside = {
            "png": encoded(noise(i)), "cls": str(i % 2).encode(), "txt": f"No {i}, ä".encode(),
            "json": json.dumps({"label": "ab"[i % 2], "size": i, "nested": {"x": 1}}).encode(),
        }  # fmt: skip
        members |= {f"{i:06d}.{suffix}": beside[suffix] for suffix in order}
    found, data = ingested(tmp_path, tarred(members))
    assert found.schema["classes"] == ["a", "b"]
    assert everything(data)[1].tolist() == [0, 1] * 12
    assert [one["name"] for one in found.schema["attributes"]] == ["size"]
    assert Pictures(data, "train").captions(0, 24) == [f"No {i}, ä" for i in range(24)]
    assert found.warnings == []


def test_webdataset_labels_may_be_numbers_or_names_and_may_be_broken(tmp_path: Path) -> None:
    numbered = {f"{i}.{kind}": data for i in range(24) for kind, data in
                (("png", encoded(noise(i))), ("cls", str(i % 12).encode()))}  # fmt: skip
    assert ingested(tmp_path / "1", tarred(numbered))[0].schema["classes"] == [str(i) for i in range(12)]
    broken = {name: b"{" * 5000 if name == "3.json" else data for name, data in numbered.items()} | {"x.json": b"["}
    found, _ = ingested(tmp_path / "2", tarred(broken))
    assert found.rows == 24
    assert "1 files that are no pictures were left out." in found.warnings


def test_hugging_face_parquet_with_named_classes_is_read(tmp_path: Path) -> None:
    features = {"image": {"_type": "Image"}, "label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}
    content = parquet(
        {"image": structs(130), "label": pa.array([i % 2 for i in range(130)]),
         "age": pa.array([i * 0.5 for i in range(130)]), "ok": pa.array([i % 5 == 0 for i in range(130)]),
         "caption": pa.array([f"c{i}" for i in range(130)]),
         "boxes": pa.array([[1, 2]] * 130)},
        {"huggingface": json.dumps({"info": {"features": features}})}, rows=50,
    )  # fmt: skip
    found, data = ingested(tmp_path, content)
    assert found.schema["classes"] == ["cat", "dog"]
    assert found.profile["class_counts"] == {"cat": 65, "dog": 65}
    assert [(one["name"], one["type"]) for one in found.schema["attributes"]] == [("age", "number"), ("ok", "boolean")]
    train = Pictures(data, "train")
    index = np.rint(train.attributes[:, 0] * 2).astype(int)
    assert (train.labels == index % 2).all()
    assert (train.attributes[:, 1] == (index % 5 == 0)).all()
    assert train.captions(0, len(train)) == [f"c{i}" for i in index]
    assert len(Pictures(data, "holdout")) == 13


def test_parquet_of_plain_bytes_with_missing_and_damaged_pictures(tmp_path: Path) -> None:
    pictures = [encoded(noise(i)) for i in range(60)]
    broken = [None, b"hello", *pictures[2:]]
    content = parquet({"img": pa.array(broken, pa.binary()), "kind": pa.array(["ab"[i % 2] for i in range(60)])})
    found, _ = ingested(tmp_path, content)
    assert found.rows == 58
    assert found.schema["classes"] == ["a", "b"]
    assert "2 pictures cannot be read and were left out: row 0, row 1." in found.warnings


def test_parquet_with_pictures_is_told_from_a_table(tmp_path: Path) -> None:
    (tmp_path / "pictures").write_bytes(parquet({"image": structs(3)}))
    (tmp_path / "table").write_bytes(parquet({"age": pa.array([1, 2])}))
    (tmp_path / "half").write_bytes(parquet({"image": structs(3)})[:500])
    assert [holds_pictures(tmp_path / name) for name in ("pictures", "table", "half")] == [True, False, False]
    assert recognised(tmp_path / "pictures", "x.parquet") == "images"
    assert recognised(tmp_path / "table", "x.parquet") == "table"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (lambda: parquet({"age": pa.array(range(50))}), "no_images"),
        (lambda: parquet({"image": structs(50)})[:3000], "corrupt_file"),
        (lambda: parquet({"image": pa.array([b"hello"] * 50)}), "no_images"),
        (lambda: parquet({"image": pa.array([], pa.binary())}), "no_images"),
    ],
)
def test_bad_parquet_is_refused(content: Any, code: str, tmp_path: Path) -> None:
    with pytest.raises(Rejected) as refused:
        ingested(tmp_path, content())
    assert refused.value.code == code


def test_damaged_parquet_is_refused_or_survived(tmp_path: Path) -> None:
    content, rng = parquet({"image": structs(40), "label": pa.array(["a", "b"] * 20)}), np.random.default_rng(0)
    survived = list[int]()
    for trial in range(60):
        broken = bytearray(content)
        for at in rng.integers(0, len(broken), rng.integers(1, 20)):
            broken[at] = rng.integers(256)
        with contextlib.suppress(Rejected):  # anything else that it may raise would be a bug
            found, _ = ingested(tmp_path / str(trial), bytes(broken))
            survived.append(found.rows)
    assert survived


def test_memory_does_not_grow_with_parquet(tmp_path: Path) -> None:
    """A row group is never held whole: twice the pictures take no more."""
    peaks = []
    for count in (1_500, 3_000):
        big = [encoded(noise(i % 7, 64, 64, 3)) for i in range(count)]
        out = tmp_path / f"{count}.parquet"
        pq.write_table(pa.table({"image": pa.array(big, pa.binary())}), out, row_group_size=count, use_dictionary=False)
        pool, before = pa.default_memory_pool(), pa.default_memory_pool().bytes_allocated()
        seen = 0
        for item in Parquet(out, 1 << 20).items(lambda done: None, Found()):
            seen = max(seen, pool.bytes_allocated() - before)
            assert item.name
        peaks.append(seen)
    assert peaks[1] < 1.2 * peaks[0]
    assert peaks[1] < out.stat().st_size / 2


def test_what_is_written_can_be_uploaded_again(tmp_path: Path) -> None:
    codec = Codec(16, 16, 3, ["cat", "a/b"], [0.5, 0.5])
    pixels = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    labels = np.arange(40) % 2
    for writer in (write_zip, write_webdataset, write_parquet):
        path = tmp_path / writer.__name__
        writer(path, iter([(0, pixels[:25], labels[:25]), (25, pixels[25:], labels[25:])]), codec)
        found, data = ingested(tmp_path / f"{writer.__name__}-in", path.read_bytes())
        again, read = everything(data)
        assert found.schema["classes"] == ["a/b", "cat"]
        order = np.argsort([np.flatnonzero((pixels == one).all((1, 2, 3)))[0] for one in again])
        assert (again[order] == pixels).all()
        assert (read[order] == 1 - labels).all()
        assert "attributes" not in found.schema


def test_written_parquet_is_what_pandas_and_datasets_expect(tmp_path: Path) -> None:
    codec = Codec(16, 16, 1, ["x", "y"], [0.5, 0.5])
    pieces = [(first, np.stack([noise(first + i) for i in range(5)])[..., None], np.arange(5) % 2) for first in (0, 5)]
    for name in ("one", "two"):
        write_parquet(tmp_path / name, iter(pieces), codec)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    file = pq.ParquetFile(tmp_path / "one")
    assert file.metadata.num_row_groups == 2
    rows = file.read().to_pylist()
    assert [row["label"] for row in rows] == ["x", "y", "x", "y", "x"] * 2
    assert rows[7]["image"]["path"] == "000000007.png"
    assert (np.asarray(Image.open(io.BytesIO(rows[7]["image"]["bytes"]))) == noise(7)).all()
    stated = json.loads(file.schema_arrow.metadata[b"huggingface"])
    assert stated["info"]["features"]["image"] == {"_type": "Image"}
    write_parquet(tmp_path / "plain", iter([(0, pieces[0][1], np.full(5, -1))]), Codec(16, 16, 1, None, None))
    assert pq.read_schema(tmp_path / "plain").names == ["image"]


def test_labels_of_ten_thousand_pictures_are_joined_without_much_memory(tmp_path: Path) -> None:
    one = encoded(noise(0))
    members = {f"{i:05d}.png": one for i in range(10_000)}
    lines = [f"{name},{i % 10}" for i, name in enumerate(members)]
    content = zipped({**members, "labels.csv": listed(lines, "file,label")})
    tracemalloc.start()
    found, _ = ingested(tmp_path, content, width=16, height=16)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.profile["class_counts"] == {str(i): 1_000 for i in range(10)}
    assert "All pictures are the same: a model of them can only repeat it." in found.warnings
    assert peak < 200 << 20
