"""A run on pictures whose answer is known: it learns, it resumes in the same weights, and what it exports samples."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from service.errors import InvalidRequest, Rejected
from workers.modalities import Dataset, Stop
from workers.modalities.images.metrics import reduced
from workers.modalities.images.modality import MODALITY, ImageSampler
from workers.modalities.images.options import attributes_of
from workers.modalities.images.spec import ImageConfig, label_condition
from workers.modalities.images.training import ImageTraining

from .helpers import encoded, ingested, noise, on, pngs, zipped


def config(**fields: Any) -> ImageConfig:
    return ImageConfig.model_validate({"preset": "draft", "network_width": 16, "batch": 8, **fields})


def place(seed: int) -> int:
    """Where the bar of a seed begins."""
    return int(np.random.default_rng(seed).integers(1, 12))


def bar(seed: int, upright: bool) -> bytes:
    """A bright bar of any position on a dark ground, upright or level."""
    at = place(seed)
    picture = np.zeros((16, 16), np.uint8)
    picture[:, at : at + 4] = 255
    return encoded(picture if upright else picture.T)


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Three quarters upright. Beside the class it is told whether the bar is far from the edge that is left of it or
    above it, how far to a hundredth, a coin's toss, and what kind it is of three."""
    members, lines = dict[str, bytes](), ["file,label,far,place,coin,kind"]
    for i in range(600):
        name, at = f"{'level' if i % 4 == 0 else 'upright'}/{i}.png", place(i)
        members[name] = bar(i, i % 4 != 0)
        far = "" if i % 7 == 0 else str(at > 5).lower()  # not all are known
        lines.append(f"{name},{name.split('/')[0]},{far},{at + i % 100 / 100},{i * 7919 % 13 % 2},{'xyz'[at % 3]}")
    members["labels.csv"] = "\n".join(lines).encode()
    return ingested(tmp_path_factory.mktemp("bars"), zipped(members))[1]


@pytest.fixture(scope="module")
def trained(bars: Dataset) -> ImageTraining:
    training = MODALITY.training(bars, config(steps=400, network_width=32), "cpu")
    for _ in training.trainer.run():
        pass
    return training


@pytest.fixture(scope="module")
def model(trained: ImageTraining, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    trained.export(folder)
    return folder


@pytest.fixture(scope="module")
def sampler(model: Path) -> ImageSampler:
    return MODALITY.sampler(model, "cpu")


def upright_share(packed: bytes) -> float:
    """Share of pictures whose columns differ more than their rows."""
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        names = [name for name in archive.namelist() if name.endswith(".png")]
        pixels = np.stack([np.asarray(Image.open(io.BytesIO(archive.read(name)))) for name in names]).astype(float)
    return float(np.mean(pixels.mean(1).std(1) > pixels.mean(2).std(1)))


def written(sampler: ImageSampler, path: Path, count: int, start: int = 0, seed: int = 5, **conditions: Any) -> bytes:
    assert sampler.write(path, start, count, seed, "zip", conditions, on) == count
    return path.read_bytes()


def test_it_learns_which_way_the_bars_of_a_class_lie(sampler: ImageSampler, tmp_path: Path) -> None:
    assert upright_share(written(sampler, tmp_path / "x", 300, label="upright")) > 0.95
    assert upright_share(written(sampler, tmp_path / "x", 300, label="level")) < 0.1
    assert 0.65 < upright_share(written(sampler, tmp_path / "x", 1_000)) < 0.85


def test_shares_of_labels_are_met_nearly_exactly_and_a_set_keeps_its_own_proportions(sampler: ImageSampler) -> None:
    classes = sampler.codec.classes or []
    half = label_condition(classes, {"upright": 0.5, "level": 0.5})
    labels = np.concatenate([sampler.chunk(chunk, 250, 5, half)[1] for chunk in range(2)])
    assert abs(int((labels == classes.index("upright")).sum()) - 250) <= 3
    some = label_condition(classes, {"in": ["upright", "level"]})
    assert np.array_equal(sampler.chunk(1, 250, 5, some)[1], sampler.chunk(1, 250, 5, None)[1])
    assert set(sampler.codec.labels(100, np.random.default_rng(0), among=[1])) == {1}


def test_its_figures_see_the_difference_between_trained_and_not(trained: ImageTraining, bars: Dataset) -> None:
    good = trained.evaluate()
    bad = MODALITY.training(bars, config(steps=400, network_width=32), "cpu").evaluate()
    assert good["label_accuracy"] > 0.95 > bad["label_accuracy"]
    assert good["coverage"] > bad["coverage"]
    assert trained.judging.ceiling()["label_accuracy"] > 0.95


def test_its_report_says_what_was_used_and_holds_the_ceilings(model: Path) -> None:
    report = json.loads((model / "report.json").read_text())
    assert report["pictures"]["training"] == 540
    assert report["pictures"]["holdout"] == 60
    assert set(report["figures"]) >= {"coverage", "spread", "label_accuracy"}
    assert report["verdict"].endswith(".")
    assert {path.name for path in model.iterdir()} == {
        "generator.safetensors", "discriminator.safetensors", "codec.json", "config.json", "report.json", "samples.png",
        "neighbours.png", "directions.safetensors",
    }  # fmt: skip


def test_a_direction_fitted_to_a_class_makes_pictures_look_more_like_it(
    model: Path, trained: ImageTraining, tmp_path: Path
) -> None:
    sampler, reader = MODALITY.sampler(model, "cpu"), trained.judging.reader
    index, shares = (sampler.codec.classes or []).index("level"), []
    assert reader is not None
    for strength in (-3.0, 0.0, 3.0):
        tools = sampler.tools({"edit": {"looks": "level", "strength": strength}}, {})
        pictures = sampler.codec.encode(sampler.chunk(0, 200, 5, None, tools)[0])
        with torch.no_grad():
            shares.append(float(torch.log_softmax(reader(reduced(pictures)), 1)[:, index].mean()))
    assert shares[0] < shares[1] < shares[2]


@pytest.mark.parametrize("name", ["far", "place"])
def test_a_direction_fitted_to_an_attribute_changes_that_and_not_the_class(name: str, model: Path) -> None:
    sampler = MODALITY.sampler(model, "cpu")
    label, where = label_condition(sampler.codec.classes or [], "upright"), []
    for strength in (-2.0, 0.0, 2.0):
        tools = sampler.tools({"edit": {"looks": name, "strength": strength}}, {})
        bright = sampler.chunk(0, 200, 5, label, tools)[0][..., 0].astype(float)
        where.append(float((bright.mean(1) * np.arange(16)).sum(1).mean() / bright.mean(1).sum(1).mean()))
        assert float(np.mean(bright.mean(1).std(1) > bright.mean(2).std(1))) > 0.8, "upright still"
    assert where[0] + 0.5 < where[1] < where[2] - 0.5


def test_what_cannot_be_seen_or_has_no_one_way_to_go_has_no_direction(model: Path, bars: Dataset) -> None:
    sampler = MODALITY.sampler(model, "cpu")
    assert sampler.fitted is not None
    assert sampler.fitted.names == ["level", "upright", "far", "place"]
    assert attributes_of(bars.schema) == ["far", "place", "coin"]
    with pytest.raises(Rejected) as refused:
        sampler.tools({"edit": {"looks": "coin"}}, {})
    assert refused.value.code == "no_direction"


def test_a_run_that_was_killed_and_resumed_ends_in_the_same_weights(bars: Dataset, tmp_path: Path) -> None:
    whole = MODALITY.training(bars, config(steps=12), "cpu").trainer
    for progress in whole.run():
        if progress.step == 5:
            whole.save(tmp_path / "checkpoint")
    resumed = MODALITY.training(bars, config(steps=12), "cpu").trainer
    resumed.load(tmp_path / "checkpoint")
    assert [progress.step for progress in resumed.run()] == list(range(6, 13))
    for one, other in ((whole.ema, resumed.ema), (whole.discriminator, resumed.discriminator)):
        assert all(
            torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True)
        )


def test_another_seed_gives_another_model(bars: Dataset) -> None:
    first, same, other = (MODALITY.training(bars, config(seed=s), "cpu").trainer for s in (0, 0, 1))
    for trainer in (first, same, other):
        next(trainer.run())
    weights = [torch.cat([p.flatten() for p in t.ema.parameters()]) for t in (first, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_shard_is_the_same_bytes_and_a_sample_the_same_pixels_in_any_shard(
    sampler: ImageSampler, tmp_path: Path
) -> None:
    one, again = (written(sampler, tmp_path / "x", 600) for _ in range(2))
    assert one == again != written(sampler, tmp_path / "x", 600, seed=6)

    def pixels(packed: bytes) -> dict[str, bytes]:
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            return {name: archive.read(name) for name in archive.namelist() if name.endswith(".png")}

    whole, few, later = (
        pixels(one),
        pixels(written(sampler, tmp_path / "x", 500)),
        written(sampler, tmp_path / "x", 100, 500),
    )
    assert few == {name: whole[name] for name in few}
    assert pixels(later) == {name: data for name, data in whole.items() if int(name[-13:-4]) >= 500}


def test_no_chunk_repeats_another_and_seeds_do_not_overlap(sampler: ImageSampler) -> None:
    chunks = [sampler.chunk(chunk, 250, seed, None) for chunk, seed in ((0, 5), (1, 5), (0, 6), (1, 4))]
    assert len({pixels.tobytes() for pixels, _ in chunks}) == 4
    assert len({labels.tobytes() for _, labels in chunks}) == 4
    assert all(len({picture.tobytes() for picture in pixels}) > 15 for pixels, _ in chunks)  # 22 bars there are


def test_a_sheet_of_large_pictures_shows_fewer(bars: Dataset, tmp_path: Path) -> None:
    small = MODALITY.training(bars, config(), "cpu").picture()
    shots = ingested(tmp_path, zipped(pngs(12, high=300, wide=300)), width=300, height=300)[1]
    large = MODALITY.training(shots, config(), "cpu").picture()
    assert small is not None
    assert large is not None
    assert Image.open(io.BytesIO(small)).size == (10 * 66 + 2, 2 * 66 + 2)  # both classes, each picture enlarged
    assert Image.open(io.BytesIO(large)).size == (5 * 302 + 2, 5 * 302 + 2)


def test_an_unknown_format_is_refused_and_a_stop_leaves_at_once(sampler: ImageSampler, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest):
        sampler.write(tmp_path / "x", 0, 10, 0, "gif", {}, on)

    def stop(done: float, total: float) -> None:
        raise Stop

    with pytest.raises(Stop):
        sampler.write(tmp_path / "x", 0, 1_000, 0, "webdataset", {}, stop)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_few_unlabelled_pictures_of_an_odd_size_train_and_sample(channels: int, tmp_path: Path) -> None:
    members = {f"{i}.png": encoded(noise(i, 19, 33, channels)) for i in range(12)}
    kind = {1: "grey", 2: "grey_alpha", 3: "rgb", 4: "rgba"}[channels]
    _, data = ingested(tmp_path / "in", zipped(members), channels=kind)
    training = MODALITY.training(data, config(steps=3, mirror=True), "cpu")
    for _ in training.trainer.run():
        pass
    (tmp_path / "model").mkdir()
    report = training.export(tmp_path / "model")
    assert json.dumps(report, allow_nan=False)
    sampler = MODALITY.sampler(tmp_path / "model", "cpu")
    with zipfile.ZipFile(io.BytesIO(written(sampler, tmp_path / "x", 3))) as archive:
        picture = Image.open(io.BytesIO(archive.read("images/000000000.png")))
    assert (picture.size, picture.mode) == ((33, 19), {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels])
    assert sampler.preview(4, 1).startswith(b"\x89PNG")


@pytest.mark.parametrize("leaning", [True, False])
def test_pictures_are_mirrored_where_they_look_like_their_mirror_images(leaning: bool, tmp_path: Path) -> None:
    """A bright spot on the left of each picture, or on either side."""
    members = {}
    for i in range(160):
        picture = np.random.default_rng(i).integers(0, 90, (16, 16), np.uint8)
        picture[4:12, 1:6] = 255
        members[f"{i}.png"] = encoded(picture if leaning or i % 2 else picture[:, ::-1])
    training = MODALITY.training(ingested(tmp_path, zipped(members))[1], config(steps=1), "cpu")
    assert training.mirror is not leaning
