"""Every bad upload is refused with a stable code and a sentence, quickly, and never touches the disk outside."""

import contextlib
import io
import json
import os
import stat
import struct
import tarfile
import time
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.ImageFile import ImageFile

from service.errors import Rejected
from workers.modalities.images.archive import Limits
from workers.modalities.images.files import Pictures
from workers.modalities.images.modality import MODALITY
from workers.modalities.images.spec import ImageConfig

from .helpers import encoded, everything, ingested, noise, pngs, tarred, zipped


def refusal(folder: Path, content: bytes, limits: Limits | None = None) -> str:
    """The code with which an upload is refused."""
    with pytest.raises(Rejected) as refused:
        ingested(folder, content, limits)
    assert refused.value.status == 422
    assert refused.value.detail.endswith(".")
    assert len(refused.value.detail) > 20
    return refused.value.code


def png_header(wide: int, high: int) -> bytes:
    """A PNG that says it is this large, and holds almost nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", wide, high, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def linked() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        info = zipfile.ZipInfo("link.png")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        packed.writestr(info, "/etc/passwd")
    return out.getvalue()


def tar_linked() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as packed:
        info = tarfile.TarInfo("link.png")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        packed.addfile(info)
    return out.getvalue()


def encrypted() -> bytes:
    content = bytearray(zipped(pngs(12)))
    at = content.find(b"PK\x01\x02")
    while at >= 0:
        content[at + 8] |= 1
        at = content.find(b"PK\x01\x02", at + 4)
    return bytes(content)


def truncated(count: int, broken: int) -> dict[str, bytes]:
    found = pngs(count, high=32, wide=32)
    return {name: data[: len(data) // 2] if i < broken else data for i, (name, data) in enumerate(found.items())}


CASES: dict[str, tuple[Callable[[], bytes], str]] = {
    "nothing at all": (lambda: b"", "empty_file"),
    "a table": (lambda: b"age,income\n1,2\n" * 50, "unsupported_format"),
    "half a picture alone": (lambda: encoded(noise(0, 64, 64))[:2_000], "corrupt_images"),
    "the head of a picture alone": (lambda: encoded(noise(0))[:20], "corrupt_images"),
    "a speck alone": (lambda: encoded(noise(0, 1, 1)), "images_too_small"),
    "a picture of 900 megapixels alone": (lambda: png_header(30_000, 30_000), "image_too_large"),
    "an empty zip": (lambda: zipped({}), "no_images"),
    "an empty tar": (lambda: tarred({}), "unsupported_format"),
    "a zip of text": (lambda: zipped({f"{i}.txt": b"hello" for i in range(50)}), "no_images"),
    "a zip of text named png": (lambda: zipped({f"{i}.png": b"hello" for i in range(50)}), "no_images"),
    "a tar of text": (lambda: tarred({f"{i}.txt": b"hello" for i in range(50)}), "no_images"),
    "truncated pictures": (lambda: zipped(truncated(60, 60)), "corrupt_images"),
    "many truncated pictures": (lambda: zipped(truncated(60, 10)), "corrupt_images"),
    "more than one in twenty": (lambda: zipped(truncated(60, 4)), "corrupt_images"),
    "specks": (lambda: zipped(pngs(30, high=1, wide=1)), "images_too_small"),
    "rules": (lambda: zipped(pngs(12, high=3, wide=20_000)), "images_too_small"),
    "headers only": (lambda: zipped({n: d[:20] for n, d in pngs(30).items()}), "corrupt_images"),
    "a name that climbs": (lambda: zipped({**pngs(12), "../../evil.png": b"x"}), "unsafe_path"),
    "a name that climbs within": (lambda: zipped({**pngs(12), "a/../../evil.png": b"x"}), "unsafe_path"),
    "an absolute name": (lambda: zipped({**pngs(12), "/etc/evil.png": b"x"}), "unsafe_path"),
    "a drive": (lambda: zipped({**pngs(12), "C:\\evil.png": b"x"}), "unsafe_path"),
    "backslashes that climb": (lambda: zipped({**pngs(12), "a\\..\\..\\evil.png": b"x"}), "unsafe_path"),
    "a tar name that climbs": (lambda: tarred({**pngs(12), "../evil.png": b"x"}), "unsafe_path"),
    "a link": (linked, "unsafe_path"),
    "a tar link": (tar_linked, "unsafe_path"),
    "a zip in a zip": (lambda: zipped({**pngs(12), "more.zip": zipped(pngs(2))}), "nested_archive"),
    "a tar.gz in a tar": (lambda: tarred({**pngs(12), "more.tar.gz": b"x"}), "nested_archive"),
    "a password": (encrypted, "encrypted_archive"),
    "a zip cut short": (lambda: zipped(pngs(30))[:-40], "corrupt_file"),
    "half a zip": (lambda: zipped(pngs(30))[:4000], "corrupt_file"),
    "half a tar": (lambda: tarred(pngs(30))[:9000], "corrupt_file"),
    "half a tar.gz": (lambda: tarred(pngs(30), "w:gz")[:4000], "corrupt_file"),
    "an odd compression": (lambda: zipped(pngs(12), zipfile.ZIP_LZMA), "unsupported_format"),
    "a picture of 900 megapixels": (
        lambda: zipped({**pngs(12), "x.png": png_header(30_000, 30_000)}),
        "image_too_large",
    ),
    "a picture of 26 megapixels": (lambda: zipped({**pngs(12), "x.png": png_header(5_200, 5_000)}), "image_too_large"),
    "two damaged pictures and a large one": (
        lambda: zipped({**truncated(30, 2), "x.png": png_header(5_200, 5_000)}),
        "corrupt_images",
    ),
}


@pytest.mark.parametrize("case", list(CASES))
def test_a_bad_upload_is_refused_with_its_code(case: str, tmp_path: Path) -> None:
    make, code = CASES[case]
    assert refusal(tmp_path / "in", make()) == code
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["source"]


@pytest.mark.parametrize(
    ("members", "classes"),
    [(pngs(1), None), (pngs(2, ("a/", "b/")), ["a", "b"]), (pngs(9), None)],
    ids=["one picture", "two classes of one picture each", "nine pictures"],
)
def test_a_few_pictures_are_taken_with_a_warning_and_are_too_few_to_train_on(
    members: dict[str, bytes], classes: list[str] | None, tmp_path: Path
) -> None:
    found, data = ingested(tmp_path, zipped(members))
    assert (found.rows, found.schema["classes"]) == (len(members), classes)
    assert found.warnings == ["Training needs at least 10 pictures; so few can be projected or scored, not trained on."]
    with pytest.raises(Rejected) as refused:
        MODALITY.training(data, ImageConfig(), "cpu")
    assert refused.value.code == "too_few_images"
    assert refused.value.detail == f"Training needs at least 10 pictures; the dataset has {len(members)}."


def test_a_picture_alone_is_taken_as_it_would_be_from_a_zip(tmp_path: Path) -> None:
    one = pngs(1, high=40, wide=20, channels=3)
    alone, data = ingested(tmp_path / "alone", one["0000.png"])
    packed, same = ingested(tmp_path / "zip", zipped(one))
    assert (alone.rows, alone.schema, alone.warnings) == (1, packed.schema, packed.warnings)
    assert np.array_equal(everything(data)[0], everything(same)[0])


def test_a_zip_bomb_is_refused_before_it_is_inflated(tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
        for index in range(3):
            with packed.open(f"{index}.png", "w") as file:
                for _ in range(150):
                    file.write(bytes(1 << 20))
    tracemalloc.start()
    began = time.perf_counter()
    assert refusal(tmp_path / "in", out.getvalue()) == "archive_too_large"
    assert time.perf_counter() - began < 1.0
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


def test_a_zip_that_lies_about_its_sizes_inflates_no_more_than_it_said(tmp_path: Path) -> None:
    bomb = bytearray(zipped({f"{i}.png": bytes(30 << 20) for i in range(2)}, zipfile.ZIP_DEFLATED))
    for mark, offset in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
        at = bomb.find(mark)
        while at >= 0:
            struct.pack_into("<I", bomb, at + offset, 100)
            at = bomb.find(mark, at + 4)
    tracemalloc.start()
    assert refusal(tmp_path / "in", bytes(bomb)) in ("no_images", "corrupt_images")
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


def test_a_tar_gz_bomb_is_stopped_while_it_inflates(tmp_path: Path) -> None:
    content = tarred({"0.png": bytes(40 << 20), "1.png": bytes(40 << 20)}, "w:gz")
    limits = Limits(free_bytes=16 << 20)
    assert refusal(tmp_path / "in", content, limits) == "archive_too_large"


def test_a_tar_header_that_claims_an_endless_name_is_refused_without_reading_it(tmp_path: Path) -> None:
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 8 << 30
    content = info.tobuf(tarfile.GNU_FORMAT) + bytes(4 << 20)
    assert refusal(tmp_path / "in", content) == "corrupt_file"


@pytest.mark.parametrize("size", ["²".encode(), b"9" * 5000])
def test_a_tar_whose_extended_header_states_no_number_is_read_by_its_plain_one(size: bytes, tmp_path: Path) -> None:
    record = b" size=" + size + b"\n"
    info = tarfile.TarInfo("extended")
    info.type, info.size = tarfile.XHDTYPE, len(record) + 4
    head = info.tobuf(tarfile.USTAR_FORMAT) + f"{info.size:04d}".encode() + record
    content = head + bytes(-len(head) % 512) + tarred(pngs(10))
    assert ingested(tmp_path, content)[0].rows == 10


def test_a_hundred_thousand_files_of_rubbish_are_refused_quickly(tmp_path: Path) -> None:
    content = zipped({f"d/{i}.png": b"rubbish" for i in range(100_000)})
    began = time.process_time()
    assert refusal(tmp_path / "in", content) == "no_images"
    assert time.process_time() - began < 10.0


def test_more_entries_than_allowed_are_counted_before_they_are_read(tmp_path: Path) -> None:
    few = Limits(entries=20)
    assert refusal(tmp_path / "zip", zipped(pngs(30)), few) == "archive_too_large"
    assert refusal(tmp_path / "tar", tarred(pngs(30)), few) == "archive_too_large"


@pytest.mark.parametrize("pack", [zipped, tarred, lambda members: tarred(members, "w:gz")])
def test_random_damage_is_refused_or_survived(pack: Callable[[dict[str, bytes]], bytes], tmp_path: Path) -> None:
    content, rng, survived = pack(pngs(20, ("a/", "b/"))), np.random.default_rng(0), list[int]()
    for trial in range(150):
        broken = bytearray(content)
        for at in rng.integers(0, len(broken), rng.integers(1, 30)):
            broken[at] = rng.integers(256)
        cut = rng.integers(1, len(broken) + 1) if trial % 3 == 0 else len(broken)
        with contextlib.suppress(Rejected):  # anything else that it may raise would be a bug
            found, _ = ingested(tmp_path / str(trial), bytes(broken[:cut]))
            survived.append(found.rows)
    assert survived
    assert min(survived) >= 19, "not more than one in twenty is left out without a word"


def test_a_few_truncated_pictures_are_skipped_with_a_warning(tmp_path: Path) -> None:
    found, _ = ingested(tmp_path, zipped(truncated(60, 3)))
    assert found.rows == 57
    assert "3 pictures cannot be read and were left out: 0000.png, 0001.png, 0002.png." in found.warnings
    assert found.profile["unreadable"] == 3


def test_a_few_pictures_of_too_many_pixels_are_left_out_and_never_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded, load = list[int](), ImageFile.load

    def counted(image: ImageFile, *rest: Any) -> Any:
        decoded.append(image.width * image.height)
        return load(image, *rest)

    monkeypatch.setattr(ImageFile, "load", counted)
    bomb = io.BytesIO()
    Image.new("L", (5_200, 5_000)).save(bomb, "PNG")  # 26 million pixels in 30 kB
    huge = {"a/bomb.png": bomb.getvalue(), "a/header.png": png_header(30_000, 30_000)}
    found, _ = ingested(tmp_path, zipped({**pngs(30, ("a/", "b/")), **huge, **pngs(30, ("c/", "d/"))}))
    assert found.rows == 60
    assert found.profile["unreadable"] == 2
    assert found.schema["classes"] == ["a", "b", "c", "d"]
    assert "2 pictures cannot be read and were left out: a/bomb.png, a/header.png." in found.warnings
    assert "Of these, 2 pictures have more than 25 million pixels; scale them down." in found.warnings
    assert len(decoded) >= 60
    assert set(decoded) == {16 * 16}


def test_a_refusal_names_some_of_the_damaged_pictures(tmp_path: Path) -> None:
    with pytest.raises(Rejected) as refused:
        ingested(tmp_path, zipped(truncated(60, 4)))
    assert "4 of 60" in refused.value.detail
    assert "0000.png, 0001.png, 0002.png" in refused.value.detail


def test_a_corrupt_picture_in_the_middle_costs_only_itself(tmp_path: Path) -> None:
    members = pngs(41, ("a/", "b/"), high=32, wide=32)
    middle = list(members)[20]
    members[middle] = members[middle][:300] + bytes(100) + members[middle][400:]
    found, data = ingested(tmp_path, tarred(members))
    assert found.rows == 40
    assert found.profile["unreadable"] == 1
    assert found.warnings == [f"1 pictures cannot be read and were left out: {middle}."]
    expected = [i for i in range(41) if i != 20]
    assert all((one[..., 0] == noise(i, 32, 32)).all() for one, i in zip(everything(data)[0], expected, strict=True))


def test_specks_among_good_pictures_are_left_out(tmp_path: Path) -> None:
    members = {**pngs(30), "dot.png": encoded(noise(1, 1, 1)), "rule.png": encoded(noise(1, 3, 20_000))}
    found, _ = ingested(tmp_path, zipped(members))
    assert found.rows == 30
    assert found.warnings == ["2 pictures with a side of less than 4 pixels were left out."]


def test_very_long_pictures_train_small_and_say_what_is_lost(tmp_path: Path) -> None:
    found, _ = ingested(tmp_path, zipped(pngs(12, high=5, wide=20_000)))
    assert (found.schema["width"], found.schema["height"]) == (64, 16)
    assert any("loses more than half" in warning for warning in found.warnings)


def test_small_pictures_are_enlarged_and_it_is_said(tmp_path: Path) -> None:
    found, _ = ingested(tmp_path, zipped(pngs(12, high=8, wide=8)))
    assert found.warnings == [
        "The pictures are 8 x 8 pixels; sides of less than 16, the least that can be trained on, were enlarged to that."
    ]


def test_identical_pictures_are_accepted_with_a_warning(tmp_path: Path) -> None:
    found, data = ingested(tmp_path, zipped({f"{'ab'[i % 2]}/{i}.png": encoded(noise(0)) for i in range(120)}))
    assert found.rows == 120
    assert found.profile["copies"] == 119
    assert "All pictures are the same: a model of them can only repeat it." in found.warnings
    assert len(Pictures(data, "holdout")) == 12


def test_ten_thousand_classes_are_refused_if_asked_for_and_ignored_if_guessed(tmp_path: Path) -> None:
    one = encoded(noise(0))
    content = zipped({f"{i % 10_000:05d}/{i}.png": one for i in range(21_000)})
    with pytest.raises(Rejected) as refused:
        ingested(tmp_path / "asked", content, labels="folders")
    assert refused.value.code == "too_many_classes"
    assert "10,000" in refused.value.detail
    found, _ = ingested(tmp_path / "guessed", content)
    assert found.schema["classes"] is None
    assert any("too many to be classes" in warning for warning in found.warnings)


def test_a_class_without_a_picture_that_can_be_read_is_no_class(tmp_path: Path) -> None:
    broken = {f"b/{i}.png": data[: len(data) // 2] for i, data in enumerate(pngs(2, high=32, wide=32).values())}
    members = {**broken, **pngs(80, ("a/", "c/", "d/"), high=32, wide=32)}
    found, data = ingested(tmp_path, tarred(members))
    assert found.schema["classes"] == ["a", "c", "d"]
    assert everything(data)[1].max() == 2
    assert found.profile["class_counts"] == {"a": 27, "c": 27, "d": 26}
    assert any("No picture of the class 'b' can be read" in warning for warning in found.warnings)
    late, data = ingested(tmp_path / "late", tarred(dict(reversed(members.items()))))
    assert late.schema["classes"] == ["a", "c", "d"], "also where only decoding tells, after the first pass"
    assert set(everything(data)[1]) == {0, 1, 2}
    assert any("No picture of the class 'b' can be read" in warning for warning in late.warnings)
    two, _ = ingested(tmp_path / "two", zipped({**broken, **pngs(80, ("a/",), high=32, wide=32)}))
    assert two.schema["classes"] is None


def test_names_that_are_not_utf8_are_read(tmp_path: Path) -> None:
    odd = {f"caf\udce9/{i}.png": encoded(noise(i)) for i in range(12)}
    found, _ = ingested(tmp_path, tarred({**pngs(12, ("tea/",)), **odd}))
    assert len(found.schema["classes"]) == 2
    assert json.dumps([found.schema, found.profile, found.warnings]).isprintable()


def test_what_is_no_picture_is_left_out_with_a_warning(tmp_path: Path) -> None:
    extra = {
        "readme.txt": b"hello",
        "__MACOSX/._0.png": b"x",
        ".DS_Store": b"x",
        "a/.hidden.png": b"x",
        "labels.csv": b"x",
    }
    found, _ = ingested(tmp_path, zipped({**pngs(12), **extra}))
    assert found.rows == 12
    assert found.warnings == [
        "labels.csv cannot be read as a table; it was left out.",
        "2 files that are no pictures were left out.",
    ]


def test_nothing_is_written_where_a_name_points(tmp_path: Path) -> None:
    target = tmp_path / "evil.png"
    assert refusal(tmp_path / "deep" / "er", zipped({**pngs(12), os.path.relpath(target, tmp_path / "deep"): b"x"}))
    assert not target.exists()
