"""The latent tools: what each does to pictures, on a generator whose blocks do something and which nobody trained."""

import csv
import io
import zipfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file

from service.errors import Rejected
from workers.modalities import Given, Stop
from workers.modalities.images import latent as tool
from workers.modalities.images.codec import Codec
from workers.modalities.images.directions import Directions, fitted, log_odds
from workers.modalities.images.modality import ImageSampler
from workers.modalities.images.networks import Architecture, Discriminator, Generator
from workers.modalities.images.pictures import encoded

from .helpers import noise, on, zipped

FORM = Architecture(16, 16, 1, 3, (80, 32), 1)
CLASSES = ["a", "b", "c"]


@pytest.fixture(scope="module")
def sampler(tmp_path_factory: pytest.TempPathFactory) -> ImageSampler:
    rng = torch.Generator().manual_seed(0)
    generator, discriminator = Generator(FORM, rng), Discriminator(FORM, rng)
    for network in (generator, discriminator):
        for name, weight in network.named_parameters():
            if name.endswith("shrink.weight"):  # zero at first, so that a new block changes nothing
                weight.data.normal_(0, 0.1, generator=rng)
    folder = tmp_path_factory.mktemp("model")
    save_file(dict(discriminator.state_dict()), folder / "discriminator.safetensors")
    return ImageSampler(generator, Codec(16, 16, 1, CLASSES, [0.5, 0.3, 0.2]), "cpu", folder)


def made(sampler: ImageSampler, path: Path, count: int, seed: int = 5, given: Given | None = None,
         conditions: dict[str, Any] | None = None, **options: Any) -> dict[str, bytes]:  # fmt: skip
    assert sampler.write(path / "out", 0, count, seed, "zip", conditions or {}, on, given, options) == count
    with zipfile.ZipFile(path / "out") as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pixels(files: dict[str, bytes]) -> NDArray[np.float64]:
    """(n, h, w) in the order of the samples' numbers."""
    names = sorted((name for name in files if name.endswith(".png")), key=lambda name: name[-13:])
    return np.stack([np.asarray(Image.open(io.BytesIO(files[name]))) for name in names]).astype(float)


def test_truncation_lowers_diversity_down_to_one_picture_a_class(sampler: ImageSampler, tmp_path: Path) -> None:
    spreads = [
        pixels(made(sampler, tmp_path, 60, conditions={"label": "b"}, truncation=share)).std(0).mean()
        for share in (1.0, 0.6, 0.2, 0.0)
    ]
    assert spreads[0] > 1.2 * spreads[1] > 1.2**2 * spreads[2] > 0
    assert spreads[3] == 0
    assert made(sampler, tmp_path, 20, truncation=1.0) == made(sampler, tmp_path, 20)


def test_the_mean_of_v_is_that_of_many_samples(sampler: ImageSampler) -> None:
    generator, condition = sampler.generator, torch.full((20_000, 1), 2)
    begun = generator.begin(generator.latent(20_000, torch.Generator().manual_seed(1)), condition)
    assert torch.allclose(begun.mean(0), tool.mean(generator, condition[:1])[0], atol=0.05)


@pytest.mark.parametrize("loop", [False, True])
def test_key_frames_are_the_seeds_own_first_samples(sampler: ImageSampler, tmp_path: Path, loop: bool) -> None:
    film = pixels(made(sampler, tmp_path, 13, interpolate={"seeds": [3, 9, 4], "frames": 13, "loop": loop}))
    own = [pixels(made(sampler, tmp_path, 1, seed=seed))[0] for seed in (3, 9, 4)]
    keys = (0, 4, 9) if loop else (0, 6, 12)
    assert all(np.array_equal(film[frame], picture) for frame, picture in zip(keys, own, strict=True))
    steps = np.abs(np.diff(film, axis=0)).mean((1, 2))
    assert steps.min() > 0
    assert steps.max() < 0.6 * np.abs(own[0] - own[1]).mean()  # it goes, and does not jump


def test_between_classes_the_ends_are_those_classes(sampler: ImageSampler, tmp_path: Path) -> None:
    files = made(sampler, tmp_path, 9, interpolate={"labels": ["a", "c"], "frames": 9})
    assert set(files) == {f"images/{frame:09d}.png" for frame in range(9)}  # in order, and under no class
    film = pixels(files)
    for frame, label in ((0, "a"), (8, "c")):
        assert np.array_equal(film[frame], pixels(made(sampler, tmp_path, 1, conditions={"label": label}))[0])


def test_a_film_is_an_animated_webp_and_a_sheet_one_picture(sampler: ImageSampler, tmp_path: Path) -> None:
    film = {"interpolate": {"seeds": [1, 2], "frames": 10}}
    for _ in range(2):
        sampler.write(tmp_path / "film", 0, 10, 5, "webp", {}, on, None, film)
        first = (tmp_path / "film").read_bytes()
    sampler.write(tmp_path / "film", 0, 10, 5, "webp", {}, on, None, film)
    assert (tmp_path / "film").read_bytes() == first
    with Image.open(io.BytesIO(first)) as image:
        assert (image.format, image.n_frames) == ("WEBP", 10)
    sampler.write(tmp_path / "sheet", 0, 10, 5, "png", {}, on, None, {"sheet": {"directions": 2, "steps": 5}})
    with Image.open(tmp_path / "sheet") as image:
        assert image.format == "PNG"
        assert image.width > 5 * 64
        assert image.height > 2 * 64


def test_directions_are_orthonormal_and_strongest_first(sampler: ImageSampler) -> None:
    rows, strengths = tool.directions(sampler.generator)
    assert torch.allclose(rows @ rows.T, torch.eye(64), atol=1e-5)
    along = (rows @ tool.by_latent(sampler.generator).T).norm(dim=1)
    assert torch.allclose(along, strengths, atol=1e-4)
    assert bool((strengths.diff() <= 0).all())


def test_a_stronger_edit_changes_pictures_more(sampler: ImageSampler, tmp_path: Path) -> None:
    own = pixels(made(sampler, tmp_path, 20))
    far = [
        np.abs(pixels(made(sampler, tmp_path, 20, edit={"direction": 0, "strength": strength})) - own).mean()
        for strength in (0.0, 0.5, 1.0, 2.0, 4.0)
    ]
    assert far[0] == 0
    assert all(less < more for less, more in pairwise(far))


def test_an_edit_towards_a_class_ends_in_that_class(sampler: ImageSampler, tmp_path: Path) -> None:
    moved = pixels(made(sampler, tmp_path, 10, conditions={"label": "a"}, edit={"towards": "b"}))
    there = pixels(made(sampler, tmp_path, 10, conditions={"label": "b"}))
    assert np.abs(moved - there).max() <= 1  # the same but for rounding


def test_a_mix_of_a_seed_with_itself_is_that_seed_and_halves_come_from_both(sampler: ImageSampler) -> None:
    rows = tool.directions(sampler.generator)[0]
    a, b = torch.randn(2, 500, 64, generator=torch.Generator().manual_seed(3))
    mixed = tool.mixed(a, b, rows, 16)
    assert torch.allclose((mixed @ rows.T)[:, :16], (a @ rows.T)[:, :16], atol=1e-4)
    assert torch.allclose((mixed @ rows.T)[:, 16:], (b @ rows.T)[:, 16:], atol=1e-4)
    assert torch.allclose(tool.mixed(a, a, rows, 16), a, atol=1e-5)


def test_a_fitted_direction_is_found_and_log_odds_stay_finite() -> None:
    rng = torch.Generator().manual_seed(0)
    latent, groups = torch.randn(2_000, 64, generator=rng), torch.randint(3, (2_000,), generator=rng)
    true = torch.nn.functional.normalize(torch.randn(64, generator=rng), dim=0)
    seen = (latent @ true * 2 + 5 * groups)[:, None, None, None]  # a picture of one pixel that shows it, and the class
    found = fitted(["no", "yes"], latent, seen, groups, lambda x: torch.cat([-x.flatten(1), x.flatten(1)], 1) / 8)
    assert float(found.of("yes") @ true) > 0.95  # type: ignore[operator]
    assert found.of("maybe") is None
    assert bool(torch.isfinite(log_odds(torch.tensor([[1e4, -1e4], [0.0, 0.0]]))).all())


def test_looks_that_nothing_was_fitted_to_are_refused(sampler: ImageSampler, tmp_path: Path) -> None:
    with pytest.raises(Rejected) as refused:
        made(sampler, tmp_path, 1, edit={"looks": "a"})
    assert refused.value.code == "no_direction"


def test_a_generated_picture_is_projected_back_near_to_where_it_came_from(
    sampler: ImageSampler, tmp_path: Path
) -> None:
    picture = sampler.chunk(0, 1, 99, None)[0]
    (tmp_path / "given").write_bytes(zipped({"labels.txt": b"no picture", "one.png": encoded(picture[0])}))
    given = Given(tmp_path / "given", {})
    first = made(sampler, tmp_path, 1, given=given, edit={"direction": 0, "strength": 2.0})
    assert made(sampler, tmp_path, 1, given=given, edit={"direction": 0, "strength": 2.0}) == first
    assert set(first) == {
        "000000000/given.png", "000000000/reconstruction.png", "000000000/edited.png", "projections.csv",
    }  # fmt: skip
    shown = {name[10:-4]: pixels({name: data})[0] for name, data in first.items() if name.endswith(".png")}
    others = np.concatenate([sampler.chunk(chunk, 250, 77, None)[0] for chunk in (0, 1)])[..., 0].astype(float)
    best = np.sqrt(((others - shown["given"]) ** 2).mean((1, 2))).min()
    far = np.sqrt(((shown["reconstruction"] - shown["given"]) ** 2).mean())
    assert np.array_equal(shown["given"], picture[0, ..., 0])
    assert far < 0.4 * best
    assert np.abs(shown["edited"] - shown["reconstruction"]).mean() > 2
    told = next(csv.DictReader(io.StringIO(first["projections.csv"].decode())))
    assert (told["given"], float(told["pixel_distance"])) == ("one.png", pytest.approx(far, abs=1))


def test_a_projection_stops_when_it_is_told_to_and_says_how_many_can_be_read(
    sampler: ImageSampler, tmp_path: Path
) -> None:
    (tmp_path / "given").write_bytes(zipped({"a.png": encoded(noise(1)[..., None]), "b.png": b"\x89PNG\r\n\x1a\n bad"}))
    calls = []

    def stop(done: float, total: float) -> None:
        calls.append(done)
        if len(calls) > 3:
            raise Stop

    with pytest.raises(Stop):
        sampler.write(tmp_path / "out", 0, 1, 5, "zip", {}, stop, Given(tmp_path / "given", {}))
    with pytest.raises(Rejected) as refused:
        made(sampler, tmp_path, 2, given=Given(tmp_path / "given", {}))
    assert refused.value.code == "given_unreadable"


def test_directions_are_the_same_bytes_each_time_and_come_back(tmp_path: Path) -> None:
    fitted = Directions(["red", "round"], torch.eye(64)[:2], [0.5, 0.25])
    for number in range(8):
        fitted.save(tmp_path / f"{number}.safetensors")
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1
    back = Directions.load(tmp_path / "0.safetensors")
    assert (back.names, back.explained) == (fitted.names, fitted.explained)
    assert torch.equal(back.rows, fitted.rows)
