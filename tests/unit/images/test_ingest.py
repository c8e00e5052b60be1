"""What ingestion makes of good archives: labels, sizes, channels, splits, pixels."""

import io
import struct
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from workers.modalities import Stop
from workers.modalities.images import files
from workers.modalities.images.files import Pictures
from workers.modalities.images.spec import ImageOptions

from .helpers import Folder, encoded, everything, ingested, noise, pngs, tarred, zipped


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_every_kind_of_archive_gives_the_same_pictures(kind: str, tmp_path: Path) -> None:
    members = pngs(40, ("cat/", "dog/"))
    content = zipped(members) if kind == "zip" else tarred(members, "w" if kind == "tar" else "w:gz")
    found, data = ingested(tmp_path, content)
    pixels, labels = everything(data)
    assert found.rows == 40
    assert found.schema == {"modality": "images", "height": 16, "width": 16, "channels": 1, "classes": ["cat", "dog"]}
    assert labels.tolist() == [0, 1] * 20
    assert all((pixels[i, ..., 0] == noise(i)).all() for i in range(40))


@pytest.mark.parametrize(
    ("folders", "classes"),
    [
        (("",), None),
        (("all/",), None),
        (("top/all/",), None),
        (("b/", "a/"), ["a", "b"]),
        (("top/b/", "top/a/"), ["a", "b"]),
        (("train/a/", "train/b/", "test/a/", "test/b/"), ["a", "b"]),
        (("10/", "9/", "2/"), ["2", "9", "10"]),
        (("Käse/", "猫/"), ["Käse", "猫"]),
        (("a/", ""), None),
    ],
)
def test_the_immediate_folder_is_the_label(folders: tuple[str, ...], classes: list[str] | None, tmp_path: Path) -> None:
    found, data = ingested(tmp_path, zipped(pngs(24, folders)))
    assert found.schema["classes"] == classes
    _, labels = everything(data)
    if classes is None:
        assert set(labels) == {-1}
    else:
        expected = [classes.index(folders[i % len(folders)].rstrip("/").split("/")[-1]) for i in range(24)]
        assert labels.tolist() == expected


def test_labels_can_be_ignored(tmp_path: Path) -> None:
    found, _ = ingested(tmp_path, zipped(pngs(24, ("a/", "b/"))), labels="none")
    assert found.schema["classes"] is None


def test_a_folder_for_each_picture_is_no_class(tmp_path: Path) -> None:
    found, _ = ingested(tmp_path, zipped({f"{i}/x.png": encoded(noise(i)) for i in range(30)}))
    assert found.schema["classes"] is None
    assert any("too many to be classes" in warning for warning in found.warnings)


def test_a_class_of_one_picture_is_trained_on_not_held_out(tmp_path: Path) -> None:
    found, data = ingested(tmp_path, zipped({**pngs(200, ("a/", "b/")), "rare/x.png": encoded(noise(999))}))
    assert found.schema["classes"] == ["a", "b", "rare"]
    assert found.profile["class_counts"] == {"a": 100, "b": 100, "rare": 1}
    assert 2 in Pictures(data, "train").labels
    assert 2 not in Pictures(data, "holdout").labels


def test_a_tenth_is_held_out_in_the_classes_proportions(tmp_path: Path) -> None:
    members = zipped(pngs(300, ("a/", "a/", "b/")))
    _, data = ingested(tmp_path / "1", members)
    assert Counter(Pictures(data, "holdout").labels.tolist()) == {0: 20, 1: 10}
    _, same = ingested(tmp_path / "2", members)
    _, other = ingested(tmp_path / "3", members, seed=1)
    held = [Pictures(d, "holdout") for d in (data, same, other)]
    held_pixels = [h.take(np.arange(len(h))).tobytes() for h in held]
    assert held_pixels[0] == held_pixels[1] != held_pixels[2]


def test_with_fewer_than_a_hundred_none_are_held_out(tmp_path: Path) -> None:
    _, data = ingested(tmp_path, zipped(pngs(99)))
    assert len(Pictures(data, "train")) == 99
    assert len(Pictures(data, "holdout")) == 0


@pytest.mark.parametrize(
    ("sizes", "options", "expected"),
    [
        ([(20, 30)], {}, (20, 30)),
        ([(31, 17)], {}, (31, 17)),
        ([(20, 30), (40, 60), (20, 30)], {}, (20, 32)),
        ([(8, 8)], {}, (16, 16)),
        ([(300, 150)], {}, (64, 32)),
        ([(300, 150)], {"width": 90}, (90, 45)),
        ([(300, 150)], {"height": 20, "width": 18}, (18, 20)),
    ],
)
def test_the_size_is_the_options_or_the_median(
    sizes: list[tuple[int, int]], options: dict[str, Any], expected: tuple[int, int], tmp_path: Path
) -> None:
    members = {}
    for i in range(12):
        wide, high = sizes[i % len(sizes)]
        members[f"{i}.png"] = encoded(noise(i, high, wide))
    found, data = ingested(tmp_path, zipped(members), **options)
    assert (found.schema["width"], found.schema["height"]) == expected
    assert everything(data)[0].shape == (12, expected[1], expected[0], 1)


def test_colour_and_transparency_are_kept_only_where_they_are_used(tmp_path: Path) -> None:
    grey, opaque = noise(1), np.full((16, 16, 1), 255, np.uint8)
    as_rgb = np.repeat(grey[..., None], 3, 2)
    kinds = {
        1: as_rgb,
        3: np.concatenate([noise(2, channels=3), opaque], 2),
        4: noise(3, channels=4),
        2: np.concatenate([as_rgb, noise(4)[..., None]], 2),
    }
    for channels, pixels in kinds.items():
        found, data = ingested(tmp_path / str(channels), zipped({f"{i}.png": encoded(pixels) for i in range(12)}))
        assert found.schema["channels"] == channels
        assert everything(data)[0].shape[3] == channels


def saved(image: Image.Image, format: str = "PNG", **extra: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **extra)
    return out.getvalue()


def test_palette_sixteen_bit_bilevel_cmyk_and_webp_are_read(tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(0, 65_535, 16).astype(np.uint16), (16, 1))
    members = {
        "deep.png": saved(Image.fromarray(ramp)),
        "palette.png": saved(Image.fromarray(noise(1)).convert("P")),
        "bilevel.png": saved(Image.fromarray(noise(2)).convert("1")),
        "cmyk.jpg": saved(Image.fromarray(noise(3, channels=3)).convert("CMYK"), "JPEG"),
        "webp.webp": saved(Image.fromarray(noise(4, channels=3)), "WEBP", lossless=True),
        **pngs(10),
    }
    _, data = ingested(tmp_path, zipped(members), channels="grey")
    pixels, _ = everything(data)
    assert len(pixels) == 15
    assert np.abs(pixels[0, 0, :, 0].astype(int) - np.linspace(0, 255, 16)).max() <= 1
    assert (pixels[1, ..., 0] == noise(1)).all()
    assert set(np.unique(pixels[2])) == {0, 255}


def test_grey_with_alpha_sixteen_bit_colour_gif_and_bmp_are_read(tmp_path: Path) -> None:
    shade = np.arange(256, dtype=np.uint8).reshape(16, 16)
    both = Image.merge("LA", (Image.fromarray(shade), Image.new("L", (16, 16), 255)))
    frames = [Image.fromarray(np.full((16, 16), value, np.uint8)) for value in (40, 200)]
    see_through = Image.fromarray(noise(5) // 2).convert("P")
    members = {
        "both.png": saved(both),
        "deep.png": sixteen_bit_colour(shade),
        "film.gif": saved(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "film.webp": saved(frames[0].convert("RGB"), "WEBP", save_all=True, append_images=frames[1:], lossless=True),
        "film.png": saved(frames[0], "PNG", save_all=True, append_images=frames[1:]),
        "old.bmp": saved(Image.fromarray(shade), "BMP"),
        "through.png": saved(see_through, transparency=see_through.getpixel((0, 0))),
        **pngs(10),
    }
    _, data = ingested(tmp_path, zipped(members), channels="grey")
    pixels = everything(data)[0][..., 0].astype(int)
    assert (pixels[0] == shade).all()
    assert (pixels[1] == shade).all()
    for film in (2, 3, 4):
        assert np.abs(pixels[film] - 40).max() <= 1
    assert (pixels[5] == shade).all()
    assert pixels[6, 0, 0] == 255
    assert np.median(pixels[6]) < 128


def sixteen_bit_colour(shade: np.ndarray) -> bytes:
    """A PNG of 16-bit RGB, which Pillow reads but does not write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    high, wide = shade.shape
    deep = (shade.astype(">u2") * 257)[..., None].repeat(3, 2)
    rows = b"".join(b"\0" + row.tobytes() for row in deep)
    head = struct.pack(">IIBBBBB", wide, high, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_transparency_is_laid_on_white_where_there_is_no_alpha(tmp_path: Path) -> None:
    clear = np.zeros((16, 16, 4), np.uint8)
    _, data = ingested(tmp_path, zipped({f"{i}.png": encoded(clear) for i in range(12)}), channels="rgb")
    assert (everything(data)[0] == 255).all()


def test_the_exif_orientation_is_honoured(tmp_path: Path) -> None:
    picture = np.zeros((32, 16), np.uint8)
    picture[:16] = 255  # stored upright, shown after a quarter turn clockwise: bright on the right
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = saved(Image.fromarray(picture), "JPEG", exif=exif, quality=95)
    found, data = ingested(tmp_path, zipped({f"{i}.jpg": turned for i in range(12)}))
    assert (found.schema["width"], found.schema["height"]) == (32, 16)
    shown = everything(data)[0][0, ..., 0]
    assert shown[:, 20:].min() > 200
    assert shown[:, :12].max() < 50


@pytest.mark.parametrize(("fit", "edge", "middle"), [("crop", 255, 255), ("pad", 0, 255), ("stretch", 255, 255)])
def test_another_shape_is_cut_padded_or_stretched(fit: str, edge: int, middle: int, tmp_path: Path) -> None:
    wide = {f"{i}.png": encoded(np.full((20, 60), 255, np.uint8)) for i in range(12)}
    _, data = ingested(tmp_path, zipped(wide), width=24, height=24, fit=fit)
    pixels = everything(data)[0]
    assert pixels.shape == (12, 24, 24, 1)
    assert int(pixels[0, 0, 12, 0]) == edge
    assert int(pixels[0, 12, 12, 0]) == middle


def test_memory_is_that_of_one_shard_and_rows_are_found_across_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "SHARD_BYTES", 7 * 256)
    _, data = ingested(tmp_path, zipped(pngs(50)))
    train = Pictures(data, "train")
    assert [len(shard) for shard in train.shards] == [7] * 7 + [1]
    rows = np.array([49, 0, 7, 6, 48, 7])
    assert all((found[..., 0] == noise(row)).all() for found, row in zip(train.take(rows), rows, strict=True))


def test_a_cancelled_ingestion_stops_in_the_second_pass_too(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(zipped(pngs(50)))
    seen: list[float] = []

    def late(done: float, total: float) -> None:
        seen.append(done / total)
        if done / total > 0.5:
            raise Stop

    with pytest.raises(Stop):
        files.ingest(tmp_path / "source", ImageOptions.model_validate({}), 0, Folder(tmp_path / "parts"), late)
    assert seen == sorted(seen)
    assert len(seen) > 50
