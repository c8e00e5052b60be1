"""What judges pictures, on pictures whose faults are known: made from real ones, so that no training is needed."""

import io
import json
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from workers.modalities.images.codec import Codec
from workers.modalities.images.files import Pictures
from workers.modalities.images.judging import FD, KID, Judging, Pixels, Sample
from workers.modalities.images.neighbours import ASKED, Neighbours, neighbours
from workers.modalities.images.report import memorisation, report, verdict
from workers.modalities.images.width import fitting

Labels = NDArray[np.int64]


class Held(Pictures):
    """A split that is held in memory."""

    def __init__(self, pixels: Pixels, labels: Labels | None = None) -> None:
        self.labels = np.full(len(pixels), -1, np.int64) if labels is None else labels
        self.shards, self.starts, self.shape = [pixels], np.array([0, len(pixels)]), pixels.shape[1:]


def discs(n: int, seed: int, channels: int = 1, side: int = 24) -> tuple[Pixels, Labels]:
    """Discs (class 0) and frames (class 1) anywhere, of any size and shade."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    y, x = np.indices((side, side))
    at, size = rng.uniform(7, side - 7, (n, 2, 1, 1)), rng.uniform(3, 6, (n, 1, 1))
    far_y, far_x = np.abs(y - at[:, 0]), np.abs(x - at[:, 1])
    disc = np.hypot(far_y, far_x) < size
    square = np.maximum(far_y, far_x)
    frame = (square < size) & (square > size - 2)
    inside = np.where(labels[:, None, None] == 0, disc, frame)[..., None]
    shade = rng.integers(120, 255, (n, 1, 1, channels))
    return np.where(inside, shade, 20).astype(np.uint8), labels.astype(np.int64)


def judging(
    train: tuple[Pixels, Labels | None],
    holdout: tuple[Pixels, Labels | None],
    sample: Sample,
    classes: list[str] | None,
) -> Judging:
    shape = train[0].shape[1:]
    counts = None if train[1] is None or classes is None else np.bincount(train[1], minlength=len(classes))
    shares = None if counts is None else (counts / counts.sum()).tolist()
    codec = Codec(int(shape[0]), int(shape[1]), int(shape[2]), classes, shares)
    return Judging(Held(*train), Held(*holdout), codec, sample, "cpu")


def fresh(n: int, seed: int) -> tuple[Pixels, Labels]:
    """A perfect model's samples."""
    return discs(n, 1_000 + seed)


def of_one_class_few(n: int, seed: int) -> tuple[Pixels, Labels]:
    """All frames are three frames."""
    pixels, labels = fresh(n, seed)
    frames = np.flatnonzero(labels == 1)
    pixels[frames] = pixels[frames[np.arange(len(frames)) % 3]]
    return pixels, labels


def wrong_way_round(n: int, seed: int) -> tuple[Pixels, Labels]:
    pixels, labels = fresh(n, seed)
    return pixels, 1 - labels


def noisy(n: int, seed: int) -> tuple[Pixels, Labels]:
    pixels, labels = fresh(n, seed)
    noise = np.random.default_rng(seed).normal(0, 40, pixels.shape)
    return np.clip(pixels + noise, 0, 255).astype(np.uint8), labels


def copies_of(pixels: Pixels, labels: Labels) -> Sample:
    def sample(n: int, seed: int) -> tuple[Pixels, Labels]:
        rows = np.random.default_rng(seed).integers(len(pixels), size=n)
        return pixels[rows], labels[rows]

    return sample


TRAIN, HOLDOUT, CLASSES = discs(500, 0), discs(200, 1), ["disc", "frame"]


def told(judged: Judging) -> tuple[dict[str, Any], Neighbours]:
    near = neighbours(judged)
    found = report(judged, near, {"steps": 1})
    return json.loads(json.dumps(found, allow_nan=False)), near


@pytest.fixture(scope="module")
def good() -> dict[str, Any]:
    return told(judging(TRAIN, HOLDOUT, fresh, CLASSES))[0]


def of_one_class_one(n: int, seed: int) -> tuple[Pixels, Labels]:
    """All frames are one frame; discs vary as ever."""
    pixels, labels = fresh(n, seed)
    pixels[labels == 1] = pixels[1]
    return pixels, labels


def test_samples_that_are_all_alike_in_a_class_of_two_have_collapsed() -> None:
    held = judging(discs(400, 1), discs(400, 2), fresh, ["disc", "frame"])
    assert held.diversity(fresh, 0.0) > 0.5
    assert held.diversity(of_one_class_one, 0.0) < 0


def of_few(kinds: int) -> Sample:
    """So many pictures again and again: they differ as much as ever."""

    def sample(n: int, seed: int) -> tuple[Pixels, Labels]:
        pixels, labels = fresh(n, seed)
        kept = np.arange(n) % kinds
        return pixels[kept], labels[kept]

    return sample


@pytest.mark.parametrize("classes", [CLASSES, None])
def test_a_network_that_lost_most_kinds_has_collapsed_though_what_is_left_differs(classes: list[str] | None) -> None:
    def told(sample: Sample) -> Sample:
        def drawn(n: int, seed: int) -> tuple[Pixels, Labels]:
            pixels, labels = sample(n, seed)
            return pixels, labels if classes else np.full(n, -1)

        return drawn

    many, half, few = told(fresh), told(of_few(120)), told(of_few(10))
    held = judging(many(400, 3), many(400, 4), many, classes)
    assert held.diversity(few, 0.0) >= 0  # it never covered more
    reached = held.diversity(many, 0.0)
    assert held.diversity(half, reached) >= 0
    assert held.diversity(few, reached) < 0
    assert held.spread(held.drawn(400, few)) > 0.6


def test_of_so_many_classes_that_none_has_enough_samples_a_collapse_is_seen_all_the_same() -> None:
    names = [str(number) for number in range(150)]

    def of_many(found: tuple[Pixels, Labels]) -> tuple[Pixels, Labels]:
        return found[0], np.arange(len(found[0])) % len(names)

    judged = judging(of_many(TRAIN), of_many(HOLDOUT), fresh, names)
    assert judged.diversity(lambda n, seed: of_many(fresh(n, seed)), 0.0) >= 0
    alike: Sample = lambda n, seed: of_many((fresh(1, seed)[0].repeat(n, 0), np.zeros(n, np.int64)))  # noqa: E731
    assert judged.diversity(alike, 0.0) < 0


def test_samples_that_teach_another_network_are_not_all_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.modalities.images.judging.JUDGED_BYTES", 0)
    held = list[weakref.ref[Pixels]]()

    def sample(n: int, seed: int) -> tuple[Pixels, Labels]:
        assert sum(one() is not None for one in held) <= 2
        found = fresh(n, seed)
        held.append(weakref.ref(found[0]))
        return found

    assert judging(TRAIN, HOLDOUT, sample, CLASSES).usefulness() is not None
    assert len(held) == 5


def test_of_large_pictures_no_more_are_judged_than_may_be_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.modalities.images.judging.JUDGED_BYTES", 150 * 24 * 24)
    asked = list[int]()

    def sample(n: int, seed: int) -> tuple[Pixels, Labels]:
        asked.append(n)
        return fresh(n, seed)

    judged = judging(TRAIN, discs(300, 1), sample, CLASSES)
    judged.distance(sample)
    judged.diversity(sample, 0.0)
    judged.evaluate()
    fitting(judged, lambda width: sample)
    neighbours(judged)
    assert len(judged.real) == 150
    assert max(asked) == 150
    assert judged.worth(2_000) == 2_000  # what is not held may be more


def test_samples_as_good_as_real_pictures_reach_the_ceiling_in_every_figure(good: dict[str, Any]) -> None:
    figures, ceiling = good["figures"], good["ceiling"]
    assert set(figures) == set(good["meaning"]) == set(ceiling)
    assert {FD, KID, "coverage", "density", "precision", "recall", "label_accuracy"} <= set(figures)
    assert abs(figures["coverage"] - ceiling["coverage"]) < 0.06
    assert figures[FD] < 1.3 * ceiling[FD]
    assert abs(figures[KID]) < 0.05
    assert figures["label_accuracy"] > 0.95
    assert figures["train_on_synthetic"] > 0.9
    assert good["collapsed_classes"] == []
    assert good["memorisation"].startswith("No sign of copies")


def test_a_collapsed_class_is_named_though_the_other_hides_it_in_the_mean(good: dict[str, Any]) -> None:
    found, _ = told(judging(TRAIN, HOLDOUT, of_one_class_few, CLASSES))
    assert found["collapsed_classes"] == ["frame"]
    assert "'frame'" in found["verdict"]
    rows = {row["class"]: row for row in found["by_class"]}
    assert list(rows) == ["frame", "disc"]  # worst first
    assert rows["frame"]["coverage"] < 0.3 < 0.8 < rows["disc"]["coverage"]
    assert found["figures"]["recall"] < good["figures"]["recall"] - 0.2


def test_labels_that_are_the_wrong_way_round_are_seen(good: dict[str, Any]) -> None:
    judged = judging(TRAIN, HOLDOUT, wrong_way_round, CLASSES)
    figures = judged.evaluate()
    assert figures["label_accuracy"] < 0.05
    assert max(judged.by_class()["coverage"]) < 0.3
    assert abs(figures["coverage"] - good["figures"]["coverage"]) < 0.06  # which knows of no labels


def test_the_distance_that_steers_a_run_ranks_networks_and_is_the_same_each_time() -> None:
    judged = judging(TRAIN, HOLDOUT, fresh, CLASSES)
    perfect, few, bad = (judged.distance(sample) for sample in (fresh, of_one_class_few, noisy))
    assert perfect < few < bad
    assert judged.distance(fresh) == perfect
    assert abs(perfect) < 0.1 * bad


def test_copies_are_found_out_and_shown_beside_what_they_copy(good: dict[str, Any]) -> None:
    found, near = told(judging(TRAIN, HOLDOUT, copies_of(*TRAIN), CLASSES))
    assert near.ratio < 0.01
    assert near.close == 1.0
    assert found["figures"]["nearest_training_picture"] < 0.5 < good["figures"]["nearest_training_picture"]
    assert "copies" in found["verdict"]
    assert "copies" in found["memorisation"]
    sheet = np.asarray(Image.open(io.BytesIO(near.sheet)))
    tile, top, left = 72, 52, 12  # pixels of 24 are enlarged three times, below a margin and two lines of text
    sample, nearest = (sheet[top : top + tile, at : at + tile] for at in (left, left + tile + 12))
    assert sample.std() > 10
    assert np.array_equal(sample, nearest)


def test_faint_noise_does_not_hide_copies() -> None:
    def sample(n: int, seed: int) -> tuple[Pixels, Labels]:
        pixels, labels = copies_of(*TRAIN)(n, seed)
        noise = np.random.default_rng(seed).normal(0, 4, pixels.shape)
        return np.clip(pixels + noise, 0, 255).astype(np.uint8), labels

    near = neighbours(judging(TRAIN, HOLDOUT, sample, CLASSES))
    assert near.ratio < 0.5
    assert near.close > 0.9


def test_a_few_copies_among_good_samples_are_seen_where_the_median_is_blind() -> None:
    def sample(n: int, seed: int) -> tuple[Pixels, Labels]:
        pixels, labels = fresh(n, seed)
        pixels[: n // 10], labels[: n // 10] = TRAIN[0][: n // 10], TRAIN[1][: n // 10]
        return pixels, labels

    near = neighbours(judging(TRAIN, HOLDOUT, sample, CLASSES))
    assert near.ratio > 0.7
    assert near.close > near.close_unseen + 0.08
    assert memorisation(near, True).startswith("Some samples may be copies")


def test_without_held_out_pictures_copies_are_still_found_by_how_far_training_pictures_lie_apart() -> None:
    few, none = discs(60, 0), (TRAIN[0][:0], TRAIN[1][:0])
    honest, copied = (neighbours(judging(few, none, s, CLASSES)) for s in (fresh, copies_of(*few)))
    assert copied.ratio < 0.05 < 0.6 < honest.ratio
    assert memorisation(copied, False).startswith("Treat the samples as copies")


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("held_out", [0, 12, 60])
def test_any_channels_without_labels_give_finite_figures_in_the_other_networks_eyes(
    channels: int, held_out: int
) -> None:
    pixels, holdout = discs(40, 0, channels)[0], discs(60, 1, channels)[0][:held_out]

    def sample(n: int, seed: int) -> tuple[Pixels, Labels]:
        return discs(n, seed + 9, channels)[0], np.full(n, -1)

    found, near = told(judging((pixels, None), (holdout, None), sample, None))
    assert KID in found["figures"]
    assert FD not in found["figures"]  # too few
    assert "label_accuracy" not in found["figures"]
    assert "EfficientNet-Lite0" in found["pictures"]["use"]
    assert Image.open(io.BytesIO(near.sheet)).mode == "RGB"
    assert near.samples == ASKED


def as_they_are(pixels: Pixels, labels: Labels | None) -> Callable[[int, int], tuple[Pixels, Labels]]:
    def sample(n: int, seed: int) -> tuple[Pixels, Labels]:
        rows = np.arange(n) % len(pixels)
        return pixels[rows], np.full(n, -1) if labels is None else labels[rows]

    return sample


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (None, None),
        (np.zeros(30, np.int64), ["only"]),
        (np.arange(30) // 29, ["many", "one"]),
        (np.arange(30), [f"class {i}" for i in range(10_000)]),
    ],
)
@pytest.mark.parametrize("held_out", [0, 1, 5])
def test_identical_pictures_and_classes_of_one_picture_are_no_division_by_zero(
    labels: Labels | None, classes: list[str] | None, held_out: int
) -> None:
    pixels = np.full((30, 5, 40, 3), 77, np.uint8)
    holdout = (pixels[:held_out], None if labels is None else labels[:held_out])
    judged = judging((pixels, labels), holdout, as_they_are(pixels, labels), classes)
    found, _ = told(judged)
    assert found["memorisation"].startswith("The training pictures are so alike")
    assert found["figures"]["coverage"] == 1.0
    assert np.isfinite(judged.distance(fresh_like(pixels)))
    assert json.dumps(judged.evaluate(), allow_nan=False)


def fresh_like(pixels: Pixels) -> Sample:
    return as_they_are(np.random.default_rng(0).integers(0, 256, pixels.shape, dtype=np.uint8), None)


def test_a_wide_picture_of_one_row_and_a_large_one_make_a_sheet() -> None:
    for shape in ((12, 1, 300, 1), (12, 400, 200, 4)):
        pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        near = neighbours(judging((pixels, None), (pixels[:0], None), as_they_are(pixels, None), None))
        assert Image.open(io.BytesIO(near.sheet)).width < 1_600


def test_the_verdict_puts_the_worst_first() -> None:
    fine = {"coverage": 0.9, "spread": 0.9, "nearest_training_picture": 1.0}
    assert verdict(fine, {"coverage": 0.97}).startswith("Samples cover 90%")
    assert "only part" in verdict(fine | {"coverage": 0.3}, {})
    assert "only part" in verdict(fine | {"spread": 0.3}, {})
    assert "(coverage 0.30)" in verdict({"coverage": 0.3}, {})  # of many classes the spread is not measured
    assert "cover 90%" in verdict({"coverage": 0.9}, {})
    assert "(spread 0.30)" in verdict({"spread": 0.3}, {})
    assert "could not be measured" in verdict({"spread": 0.9}, {})
    assert "copies" in verdict(fine | {"nearest_training_picture": 0.2, "coverage": 0.1}, {})
    assert "unlike real pictures" in verdict(fine | {FD: 900.0}, {FD: 60.0})
    assert "unlike real pictures" not in verdict(fine | {FD: 100.0}, {FD: 60.0}) + verdict(fine | {FD: 900.0}, {})
    many = verdict(fine, {}, [f"c{i}" for i in range(7)])
    assert "'c4' and 2 more" in many


def test_a_real_split_on_the_disk_is_judged_like_one_in_memory(tmp_path: Path) -> None:
    from .helpers import encoded, ingested, zipped

    pixels, labels = discs(200, 5)
    members = {f"{CLASSES[label]}/{i}.png": encoded(pixels[i, ..., 0]) for i, label in enumerate(labels)}
    _, data = ingested(tmp_path, zipped(members))
    splits = [Pictures(data, split) for split in ("train", "holdout")]
    held = [Held(split.take(np.arange(len(split))), split.labels) for split in splits]
    codec = Codec(24, 24, 1, CLASSES, [0.5, 0.5])
    one, other = (Judging(train, rest, codec, fresh, "cpu").evaluate() for train, rest in (splits, held))
    assert one == other
