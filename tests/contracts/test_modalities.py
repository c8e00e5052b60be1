"""What every modality must do, whichever it is. A newcomer adds one line to UPLOADS."""

import io
import json
import math
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from service.errors import InvalidCondition, Rejected
from service.modalities import MODALITIES, spec
from workers.modalities import Dataset, Ingested, Modality, Part, Sampler, Split, Stop, augmenting, modality

FILES = {"generator.safetensors", "discriminator.safetensors", "codec.json", "config.json", "report.json"}


def a_table() -> tuple[str, bytes, dict[str, object], dict[str, object]]:
    rng = np.random.default_rng(0)
    rows = [f"{rng.integers(18, 90)},{rng.choice(['red', 'blue'])},{rng.normal():.2f}" for _ in range(300)]
    return "people.csv", "\n".join(["age,colour,score", *rows]).encode(), {"colour": "red"}, {"colour": "green"}


def pictures() -> tuple[str, bytes, dict[str, object], dict[str, object]]:
    rng, out = np.random.default_rng(0), io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for i in range(120):
            pixels = np.clip(rng.normal(60 + 120 * (i % 2), 20, (16, 16)), 0, 255).astype(np.uint8)
            png = io.BytesIO()
            Image.fromarray(pixels).save(png, "PNG")
            archive.writestr(f"{'dark' if i % 2 == 0 else 'light'}/{i}.png", png.getvalue())
    return "pictures.zip", out.getvalue(), {"label": "dark"}, {"label": "green"}


# modality: () -> (file name, bytes, a condition that can be met, one that cannot)
UPLOADS: dict[str, Callable[[], tuple[str, bytes, dict[str, object], dict[str, object]]]] = {
    "table": a_table,
    "images": pictures,
}


class Folder:
    """A PartSink on the local disk."""

    def __init__(self, root: Path) -> None:
        self.root, self.parts = root, list[tuple[Split, Path]]()
        root.mkdir(parents=True)

    @contextmanager
    def part(self, split: Split, suffix: str) -> Iterator[Path]:
        path = self.root / f"{split}-{len(self.parts)}{suffix}"
        yield path
        self.parts.append((split, path))


def on(done: float, total: float) -> None:
    """Progress that goes on."""


def stop(done: float, total: float) -> None:
    raise Stop


@pytest.fixture(params=list(MODALITIES), scope="module")
def name(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture(scope="module")
def trained(
    name: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Modality, Ingested, Dataset, Path, dict[str, object]]:
    """Ingested, trained for a few steps, exported."""
    folder = tmp_path_factory.mktemp(name)
    filename, content, _, _ = UPLOADS[name]()
    (folder / "source").write_bytes(content)
    mine, sink = modality(name), Folder(folder / "parts")
    found = mine.ingest(folder / "source", filename, {}, 3, sink, on)
    train = sum(split == "train" for split, _ in sink.parts)
    assert train >= 1
    # rows a part are not known to the sink: one part a split is enough for the contract
    holdout = len(sink.parts) > train
    share = {"train": found.rows - (found.rows // 10 if holdout else 0), "holdout": found.rows // 10}
    data = Dataset(found.schema, found.rows, [Part(path, share[split], split) for split, path in sink.parts])
    config = spec(name).train_config(preset="draft", steps=6, seed=1)
    training = mine.training(data, config, "cpu")
    for _ in training.trainer.run():
        pass
    quality = training.evaluate()
    assert quality
    assert all(map(math.isfinite, quality.values()))
    picture = training.picture()
    assert picture is None or picture.startswith(b"\x89PNG")
    (folder / "model").mkdir()
    report = training.export(folder / "model")
    return mine, found, data, folder / "model", dict(report)


@pytest.fixture
def sampler(trained: tuple[Modality, Ingested, Dataset, Path, dict[str, object]]) -> Sampler:
    return trained[0].sampler(trained[3], "cpu")


def draw(sampler: Sampler, path: Path, seed: int = 5, **conditions: object) -> bytes:
    extra = dict(conditions)
    form = str(extra.pop("format"))
    assert sampler.write(path, 0, 50, seed, form, extra, on) == 50
    return path.read_bytes()


def test_its_spec_needs_neither_torch_nor_numpy(name: str) -> None:
    loaded = "print([m for m in ('torch', 'numpy') if m in sys.modules])"
    code = f"import sys; from service.modalities import spec; spec({name!r}); {loaded}"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_its_spec_knows_its_own_uploads_and_no_other(name: str) -> None:
    for other, upload in UPLOADS.items():
        filename, content, _, _ = upload()
        assert spec(name).recognises(content[:512], filename) == (other == name)


def test_an_unknown_config_field_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        spec(name).train_config(colour="green")  # type: ignore[call-arg]


def test_its_schema_and_report_are_json_and_all_rows_are_kept(
    name: str, trained: tuple[Modality, Ingested, Dataset, Path, dict[str, object]]
) -> None:
    _, found, _, folder, report = trained
    assert found.schema["modality"] == name
    assert found.rows == {"table": 300, "images": 120}.get(name, found.rows)
    assert json.loads(json.dumps([dict(found.schema), dict(found.profile), report], allow_nan=False))
    assert {path.name for path in folder.iterdir()} >= FILES
    assert report["verdict"]


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(
    name: str, sampler: Sampler, tmp_path: Path
) -> None:
    for form in spec(name).formats:
        one, again, other = (draw(sampler, tmp_path / "x", seed, format=form) for seed in (5, 5, 6))
        assert one == again != other


def test_a_condition_is_met_and_an_unknown_one_refused(
    name: str, sampler: Sampler, trained: tuple[Modality, Ingested, Dataset, Path, dict[str, object]], tmp_path: Path
) -> None:
    _, _, possible, impossible = UPLOADS[name]()
    spec(name).check_conditions(trained[1].schema, possible, {})
    with pytest.raises(InvalidCondition):
        spec(name).check_conditions(trained[1].schema, impossible, {})
    with pytest.raises(InvalidCondition):
        spec(name).check_conditions(trained[1].schema, {"no such column": 1}, {})
    assert draw(sampler, tmp_path / "x", format=spec(name).formats[0], **possible)


def test_a_preview_is_of_its_kind(name: str, sampler: Sampler) -> None:
    seen = sampler.preview(5, 1)
    if spec(name).preview == "picture":
        assert seen.startswith(b"\x89PNG")
    else:
        assert len(json.loads(seen)["rows"]) == 5
    assert seen == sampler.preview(5, 1) != sampler.preview(5, 2)


def test_one_that_augments_says_so_and_adds_rows_after_the_real_ones(
    name: str, trained: tuple[Modality, Ingested, Dataset, Path, dict[str, object]], tmp_path: Path
) -> None:
    mine, _, data, folder, _ = trained
    assert hasattr(mine, "augmenter") == (spec(name).check_target is not None)
    if spec(name).check_target is None:
        return
    wish = {"target": None, "method": "enlarge", "count": 50, "seed": 5, "max_count": 100}
    found = augmenting(name).augmenter(data, folder, "cpu", wish)
    real = sum(part.rows for part in data.parts if part.split == "train")
    assert found.rows == real + 50
    form = spec(name).formats[0]
    for path in (tmp_path / "a", tmp_path / "b"):
        assert found.write(path, 0, found.rows, form, on) == found.rows
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    told = json.loads(json.dumps(dict(found.judge(on)), allow_nan=False))
    assert (told["real_rows"], told["synthetic_rows"]) == (real, 50)
    assert told.keys() >= {"flag", "before", "after", "verdict"}
    with pytest.raises(Stop):
        found.write(tmp_path / "c", 0, found.rows, form, stop)


def test_a_cancelled_ingestion_stops_at_once(name: str, tmp_path: Path) -> None:
    filename, content, _, _ = UPLOADS[name]()
    (tmp_path / "source").write_bytes(content)
    with pytest.raises(Stop):
        modality(name).ingest(tmp_path / "source", filename, {}, 3, Folder(tmp_path / "parts"), stop)


def test_an_empty_upload_is_refused_with_a_code(name: str, tmp_path: Path) -> None:
    (tmp_path / "source").touch()
    with pytest.raises(Rejected) as refused:
        modality(name).ingest(tmp_path / "source", "empty", {}, 3, Folder(tmp_path / "parts"), on)
    assert refused.value.code == "empty_file"
