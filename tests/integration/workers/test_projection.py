"""One photograph over HTTP: uploaded as it is, projected by a real worker, edited; and what cannot be is said."""

import csv
import io
import json
import time
import zipfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save

from mintage import Mintage
from service.db.tables import Model
from service.domain.ids import new_id
from tests.integration.api.conftest import Api, refused, serving
from tests.integration.workers.conftest import Yard
from workers.modalities.images.codec import Codec
from workers.modalities.images.directions import FILE, Directions
from workers.modalities.images.modality import ImageSampler
from workers.modalities.images.networks import Architecture, Discriminator, Generator

SIDE, CLASSES = 16, ["cat", "dog"]
FORM = Architecture(SIDE, SIDE, 3, 2, (48, 32), 1)


@pytest.fixture
def api(yard: Yard) -> Iterator[Api]:
    with serving(yard.context) as api:
        yard.project = api.project
        yard.worker()
        yield api


@pytest.fixture(scope="module")
def networks() -> tuple[Generator, Discriminator]:
    """Nobody trained them; their blocks do something all the same."""
    rng = torch.Generator().manual_seed(0)
    made = Generator(FORM, rng), Discriminator(FORM, rng)
    for network in made:
        for name, weight in network.named_parameters():
            if name.endswith("shrink.weight"):
                weight.data.normal_(0, 0.1, generator=rng)
    return made


@pytest.fixture
def model(yard: Yard, api: Api, networks: tuple[Generator, Discriminator], tmp_path: Path) -> str:
    """As a training leaves one behind; returns its id."""
    model_id, (generator, discriminator) = new_id("mdl"), networks
    prefix = f"projects/{api.project}/models/{model_id}/a1/"
    Codec(SIDE, SIDE, 3, CLASSES, [0.5, 0.5]).save(tmp_path / "codec.json")
    Directions(["old"], torch.eye(64)[:1], [0.5]).save(tmp_path / FILE)
    files = {
        "generator.safetensors": save(generator.state_dict()),
        "discriminator.safetensors": save(discriminator.state_dict()),
        "config.json": json.dumps({"architecture": asdict(FORM)}).encode(),
        "codec.json": (tmp_path / "codec.json").read_bytes(),
        FILE: (tmp_path / FILE).read_bytes(),
    }
    for name, body in files.items():
        yard.context.storage.put(prefix + name, body)
    schema = {"modality": "images", "height": SIDE, "width": SIDE, "channels": 3, "classes": CLASSES}
    attributes = [{"name": "old", "type": "boolean"}]
    with yard.context.database.begin() as session:
        session.add(
            Model(
                id=model_id, project_id=api.project, created_at=time.time(), name="m", status="ready",
                modality="images", dataset_id="ds_x", job_id="job_x", schema=schema | {"attributes": attributes},
                config={}, prefix=prefix,
            )
        )  # fmt: skip
    return model_id


def png(pixels: NDArray[np.uint8], form: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, form)
    return out.getvalue()


@pytest.fixture(scope="module")
def photo(networks: tuple[Generator, Discriminator]) -> NDArray[np.uint8]:
    """One that the generator can make, so that it must be found again."""
    return ImageSampler(networks[0], Codec(SIDE, SIDE, 3, CLASSES, [0.5, 0.5]), "cpu").chunk(0, 1, 99, None)[0][0]


def uploaded(yard: Yard, api: Api, content: bytes, name: str = "photo.png") -> dict[str, Any]:
    """The dataset, when it has been read or refused."""
    answer = api.http.put(f"/v1/datasets/{api.dataset()}/content?filename={name}", content=content)
    assert answer.status_code == 202, answer.text
    yard.wait(answer.json()["job_id"])
    found: dict[str, Any] = api.get(f"/v1/datasets/{answer.json()['id']}")
    return found


def made(yard: Yard, api: Api, **body: Any) -> dict[str, bytes]:
    """The files in the output of a generation."""
    job = api.submit(kind="generate", **body)
    ended = yard.wait(job["id"], 90)
    assert ended.state == "succeeded", ended.error
    with Mintage(api.url, api.key) as client:
        paths = client.jobs.get(job["id"]).download(yard.folder / job["id"])
    with zipfile.ZipFile(next(path for path in paths if path.suffix == ".zip")) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def shown(files: dict[str, bytes], name: str) -> NDArray[np.float64]:
    return np.asarray(Image.open(io.BytesIO(files[f"000000000/{name}.png"]))).astype(float)


def test_one_photograph_is_projected_and_edited_in_every_way(
    yard: Yard, api: Api, model: str, photo: NDArray[np.uint8]
) -> None:
    dataset = uploaded(yard, api, png(photo))
    assert (dataset["status"], dataset["modality"], dataset["rows"]) == ("ready", "images", 1)
    plain = made(yard, api, model_id=model, given=dataset["id"], seed=3)
    assert set(plain) == {"000000000/given.png", "000000000/reconstruction.png", "projections.csv"}
    assert np.array_equal(shown(plain, "given"), photo)
    far = np.sqrt(((shown(plain, "reconstruction") - photo) ** 2).mean())
    assert far < 0.4 * np.sqrt(((photo - photo.mean((0, 1))) ** 2).mean())  # than one flat colour
    told = next(csv.DictReader(io.StringIO(plain["projections.csv"].decode())))
    assert (told["given"], float(told["pixel_distance"])) == ("picture", pytest.approx(far, abs=1))
    assert told["label"] in CLASSES
    for edit in ({"direction": 0, "strength": 2.0}, {"looks": "old", "strength": 2.0}, {"towards": "dog"}):
        body = {"given": dataset["id"], "seed": 3, "options": {"edit": edit}, "conditions": {"label": "cat"}}
        files = made(yard, api, model_id=model, **body)
        assert np.abs(shown(files, "edited") - shown(files, "reconstruction")).mean() > 1, edit


def test_a_picture_of_other_colours_and_size_is_fitted_to_the_models(
    yard: Yard, api: Api, model: str, subtests: pytest.Subtests
) -> None:
    rng = np.random.default_rng(0)
    for shape, form, name in (
        ((40, 30), "PNG", "grey.png"),
        ((9, 200, 4), "PNG", "x"),
        ((300, 500, 3), "JPEG", "X.JPG"),
    ):
        with subtests.test(shape=shape):
            content = png(rng.integers(0, 256, shape, dtype=np.uint8), form)
            files = made(yard, api, model_id=model, given=uploaded(yard, api, content, name)["id"])
            assert shown(files, "given").shape == shown(files, "reconstruction").shape == (SIDE, SIDE, 3)


def test_what_is_no_picture_is_refused_when_it_is_read(
    yard: Yard, api: Api, model: str, photo: NDArray[np.uint8], subtests: pytest.Subtests
) -> None:
    bad = {
        "corrupt_images": (png(photo)[:200], "photo.png"),
        "images_too_small": (png(photo[:2, :2]), "photo.png"),
        "unsupported_format": (png(photo), "photo.csv"),
    }
    for code, (content, name) in bad.items():
        with subtests.test(code=code):
            dataset = uploaded(yard, api, content, name)
            assert (dataset["status"], dataset["error"]["code"]) == ("rejected", code)
            body = {"kind": "generate", "model_id": model, "given": dataset["id"]}
            refused(api.http.post("/v1/jobs", json=body), 409, "dataset_not_ready")


def test_another_tenants_photograph_is_not_there(yard: Yard, api: Api, model: str, photo: NDArray[np.uint8]) -> None:
    dataset = uploaded(yard, api, png(photo))
    stranger = api.stranger()
    theirs = stranger.post("/v1/datasets", json={"name": "theirs"}).json()["id"]
    for client, given in ((stranger, dataset["id"]), (api.http, theirs)):
        refused(client.post("/v1/jobs", json={"kind": "generate", "model_id": model, "given": given}), 404, "not_found")


def test_a_table_is_no_photograph(yard: Yard, api: Api, model: str) -> None:
    table = uploaded(yard, api, b"age,income\n" + b"39,1\n40,2\n" * 30, "people.csv")
    body = {"kind": "generate", "model_id": model, "given": table["id"]}
    problem = refused(api.http.post("/v1/jobs", json=body), 422, "invalid_request")
    assert problem["errors"][0]["path"] == "given"
