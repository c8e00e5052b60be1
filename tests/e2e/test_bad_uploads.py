"""Every bad upload through the whole road: a 4xx or a failed job with a code and a sentence, and the worker lives."""

import io
import os
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mintage import Mintage
from mintage.errors import ApiError, JobFailed

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("bad uploads"), pytest.mark.timeout(300)]
GOOD = b"age,colour\n" + b"".join(b"%d,%s\n" % (i % 70, b"red" if i % 3 else b"blue") for i in range(200))


def png(size: tuple[int, int] = (16, 16), seed: int = 0) -> bytes:
    out = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0]), dtype=np.uint8)
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def zipped(*members: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return out.getvalue()


def pictures(n: int = 20, cut: int | None = None) -> list[tuple[str, bytes]]:
    return [(f"a/{i}.png", png(seed=i)[:cut]) for i in range(n)]


def climbing_tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name in ("../../escaped.png", "a/1.png"):
            info = tarfile.TarInfo(name)
            info.size = len(png())
            archive.addfile(info, io.BytesIO(png()))
    return out.getvalue()


def parquet() -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"a": list(range(1000))}), out)
    return out.getvalue()


def png_bomb() -> bytes:
    """A PNG of 60,000 x 60,000 pixels in a few bytes: only its header says so."""
    header = b"IHDR" + (60_000).to_bytes(4, "big") * 2 + b"\x08\x00\x00\x00\x00"
    crc = zlib.crc32(header).to_bytes(4, "big")
    return b"\x89PNG\r\n\x1a\n" + (13).to_bytes(4, "big") + header + crc + png()[33:]


def rubbish() -> bytes:
    return zipped(*((f"{i}.txt", b"x") for i in range(100_000)))


BAD: dict[str, tuple[str, Callable[[], bytes], set[str]]] = {
    "empty file": ("a.csv", lambda: b"", {"empty_file"}),
    "header only": ("a.csv", lambda: b"age,colour\n", {"no_rows"}),
    "one row": ("a.csv", lambda: b"age,colour\n7,red\n", {"too_few_rows"}),
    "all missing": ("a.csv", lambda: b"a,b\n" + b",\n" * 50, {"all_missing"}),
    "ragged lines": ("a.csv", lambda: b"a,b,c\n" + b"1,2,3\n1,2\n1,2,3,4\n" * 40, {"ragged_lines"}),
    "a broken encoding": ("a.csv", lambda: b"a,b\n" + b"\x81\x8d\x9d\x90,1\n" * 60, {"wrong_encoding"}),
    "a zip of no images": ("a.zip", lambda: zipped(("a.txt", b"x"), ("b.txt", b"y")), {"no_images"}),
    "truncated images": ("a.zip", lambda: zipped(*pictures(cut=60)), {"corrupt_images"}),
    "names that climb out": ("a.zip", lambda: zipped(("../../escaped.png", png()), *pictures()), {"unsafe_path"}),
    "names that climb out of a tar": ("a.tar", climbing_tar, {"unsafe_path"}),
    "a zip in a zip": ("a.zip", lambda: zipped(("inner.zip", zipped(*pictures())), *pictures()), {"nested_archive"}),
    "a hundred thousand files": ("a.zip", rubbish, {"no_images"}),
    "a zip bomb": (
        "a.zip",
        lambda: zipped(("a/1.png", bytes(300_000_000)), method=zipfile.ZIP_DEFLATED),
        {"archive_too_large"},
    ),
    "a PNG bomb": ("a.zip", lambda: zipped(("a/bomb.png", png_bomb()), *pictures(12)), {"image_too_large"}),
    "a wrong extension": ("a.csv", lambda: png(), {"unsupported_format"}),
    "a Parquet file cut short": ("a.parquet", lambda: parquet()[:-50], {"corrupt_file"}),
    "a zip cut short": ("a.zip", lambda: zipped(*pictures())[:-200], {"corrupt_file"}),
    "columns of one name": ("a.csv", lambda: b"a,a\n1,2\n3,4\n5,6\n", {"duplicate_columns"}),
    "a NUL in a cell": ("a.jsonl", lambda: b'{"a": "x\\u0000y", "b": 1}\n{"a": "z", "b": 2}\n' * 40, set()),
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("bad") / "data"
    command = [sys.executable, "-m", "mintage"]
    subprocess.run([*command, "up", "--detach", "--data-dir", str(folder)], check=True, capture_output=True)
    yield folder
    subprocess.run([*command, "down", "--data-dir", str(folder)], check=True, capture_output=True)


@pytest.fixture(scope="module")
def mint(stack: Path) -> Mintage:
    os.environ["MINTAGE_DATA_DIR"] = str(stack)
    return Mintage()


@pytest.fixture(scope="module")
def workers(stack: Path) -> list[int]:
    """The worker's process: the same at the end as at the beginning."""
    return [p.pid for p in psutil.process_iter() if "workers.celery_app" in " ".join(_words(p)) and _of(p, stack)]


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _of(process: psutil.Process, folder: Path) -> bool:
    try:
        return str(folder) in process.environ().get("MINTAGE_WORK_DIR", "")
    except psutil.Error:
        return False


def refusal(mint: Mintage, path: Path) -> tuple[str, str]:
    """Code and sentence with which an upload is refused, at once or by its job; ('', '') if it is taken."""
    try:
        mint.datasets.upload(path)
    except ApiError as error:
        return (error.code, error.detail) if 400 <= error.status < 500 else ("server_error", error.detail)
    except JobFailed as failed:
        return failed.code, str(failed)
    return "", ""


@pytest.mark.parametrize("what", list(BAD))
def test_a_bad_upload_is_refused_with_a_code_and_a_sentence(
    what: str, mint: Mintage, workers: list[int], tmp_path: Path
) -> None:
    name, content, codes = BAD[what]
    (tmp_path / name).write_bytes(content())
    code, sentence = refusal(mint, tmp_path / name)
    assert code in codes or not codes
    assert code != "internal_error"
    assert "Traceback" not in sentence
    assert not codes or (len(sentence.split()) >= 4 and sentence.rstrip().endswith("."))
    assert len(workers) == 1
    assert psutil.pid_exists(workers[0])
    assert not (tmp_path.parent / "escaped.png").exists()


def test_after_all_that_the_next_upload_succeeds(mint: Mintage, workers: list[int], tmp_path: Path) -> None:
    (tmp_path / "good.csv").write_bytes(GOOD)
    assert mint.datasets.upload(tmp_path / "good.csv").status == "ready"
    (tmp_path / "good.zip").write_bytes(zipped(*pictures()))
    assert mint.datasets.upload(tmp_path / "good.zip").modality == "images"
    assert psutil.pid_exists(workers[0])


def test_one_column_goes_the_whole_road(mint: Mintage, tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_bytes(b"age\n" + b"".join(b"%d\n" % (i % 50) for i in range(300)))
    dataset = mint.datasets.upload(tmp_path / "one.csv")
    job = mint.train(dataset, preset="draft", steps=20).wait(progress=False)
    made = mint.generate(job.model, count=25, format="csv").wait(progress=False)
    made.download(tmp_path / "out")
    lines = next((tmp_path / "out").glob("part-*.csv")).read_text().split()
    assert lines[0] == "age"
    assert len(lines) == 26
    assert all(0 <= int(line) < 50 for line in lines[1:])
