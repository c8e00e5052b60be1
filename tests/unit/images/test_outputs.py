"""What is written: names, labels and bytes, the same for the same samples."""

import csv
import io
import json
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from workers.modalities.images.codec import Codec
from workers.modalities.images.outputs import folders, grid, write_webdataset, write_zip

from .helpers import noise

LABELLED = Codec(16, 16, 3, ["cat", "a/b"], [0.5, 0.5])
PLAIN = Codec(16, 16, 1, None, None)


def samples(codec: Codec, start: int = 10_000) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    shape = (4, codec.height, codec.width, codec.channels)
    for first in (start, start + 4):
        pixels = np.random.default_rng(first).integers(0, 256, shape, dtype=np.uint8)
        yield first, pixels, np.array([0, 1, 1, 0]) if codec.classes else np.full(4, -1)


def test_a_zip_holds_a_folder_for_each_label_and_a_list(tmp_path: Path) -> None:
    write_zip(tmp_path / "x.zip", samples(LABELLED), LABELLED)
    with zipfile.ZipFile(tmp_path / "x.zip") as packed:
        assert packed.testzip() is None
        names = packed.namelist()
        rows = list(csv.DictReader(io.StringIO(packed.read("labels.csv").decode())))
        first = np.asarray(Image.open(io.BytesIO(packed.read("cat/000010000.png"))))
    assert names[:2] == ["cat/000010000.png", "a_b/000010001.png"]
    assert [row["label"] for row in rows] == ["cat", "a/b", "a/b", "cat"] * 2
    assert [row["file"] for row in rows] == names[:-1]
    assert (first == next(samples(LABELLED))[1][0]).all()


def test_without_labels_there_is_one_folder_and_no_list(tmp_path: Path) -> None:
    write_zip(tmp_path / "x.zip", samples(PLAIN), PLAIN)
    with zipfile.ZipFile(tmp_path / "x.zip") as packed:
        assert packed.namelist() == [f"images/{i:09d}.png" for i in range(10_000, 10_008)]


def test_a_webdataset_keeps_each_samples_files_together(tmp_path: Path) -> None:
    write_webdataset(tmp_path / "x.tar", samples(LABELLED), LABELLED)
    with tarfile.open(tmp_path / "x.tar") as packed:
        names = packed.getnames()
        inside = {name: packed.extractfile(name).read() for name in names[:6]}  # type: ignore[union-attr]
    assert names[:3] == ["000010000.png", "000010000.cls", "000010000.json"]
    assert len(names) == 24
    assert inside["000010001.cls"] == b"1"
    assert json.loads(inside["000010001.json"]) == {"label": "a/b"}


def test_the_same_samples_give_the_same_bytes_at_any_time(tmp_path: Path) -> None:
    for writer in (write_zip, write_webdataset):
        for name in ("one", "two"):
            writer(tmp_path / name, samples(LABELLED), LABELLED)
        assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_folder_names_are_safe_and_all_different() -> None:
    names = folders(["a/b", "a\\b", "A_B", "con:1", " . ", "..", "x" * 300, "猫"])
    assert len({name.lower() for name in names}) == len(names)
    assert all(name and not set(name) & set('/\\:*?"<>|') and name.strip(". ") == name for name in names)
    assert all(len(name) <= 110 for name in names)


def test_a_grid_shows_small_pictures_enlarged_and_transparency_on_chequers() -> None:
    sheet = np.asarray(Image.open(io.BytesIO(grid(noise(0, 16, 16)[None, ..., None].repeat(6, 0), 3))))
    assert sheet.shape == (2 * 66 + 2, 3 * 66 + 2)
    clear = np.asarray(Image.open(io.BytesIO(grid(np.zeros((1, 64, 64, 4), np.uint8), 1))))
    assert clear.shape[2] == 3
    assert clear[2:-2, 2:-2].min() >= 225
