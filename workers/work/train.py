"""Training: parts from the bucket, the trainer's steps with reports and checkpoints, the model back to the bucket."""

import time
import traceback
from concurrent.futures import Future, ThreadPoolExecutor
from math import isfinite
from pathlib import Path, PurePosixPath
from typing import Any

from service.errors import Rejected
from service.modalities import spec
from service.storage.objects import Missing
from workers.engine.checkpoints import Unusable
from workers.engine.team import Alone, Team
from workers.engine.trainer import Progress, Trainer
from workers.modalities import Dataset, Part, Stop, Training, modality
from workers.work import cards, checked, early
from workers.work.bench import STORAGE_ERRORS, Bench
from workers.work.film import Film
from workers.work.line import GRACE
from workers.work.preparing import Clock, Preparation

METRICS_SECONDS = 1.0
EVALUATIONS = 5  # over a run
FOLLOWS = 3600.0  # rank 0 says when a team stops: a rank that waits for it must not end by itself
DRAIN_SECONDS = 20.0  # within which a last checkpoint must be saved
READY, OVER = 0.0, 1.0  # rank 0's words to the others: what they wait for is there; or, after a step, it was the last
START = "start.safetensors"  # rank 0's state before its first step, in the folder that ranks share
PACE = 0.9  # weight of the past in the moving average of seconds a step


def train(
    payload: dict[str, Any], attempt: int, bench: Bench, team: Team | None = None, shared: Path | None = None
) -> dict[str, Any]:
    """Raises Rejected, Diverged, Stop. With a team, as its rank 0: the others `follow`, and find what they need in the
    `shared` folder."""
    team = team or Alone()
    with bench.folder() as own:
        folder = shared or own
        config = spec(payload["modality"]).train_config.model_validate(payload["config"])
        clock = Clock(config.time_limit_seconds, float(payload.get("spent_seconds") or 0.0))
        dataset = download(payload["dataset"], bench, folder)
        team.told(READY)
        preparation = Preparation(bench.line, clock, resumed=bool(payload["checkpoint"]))
        training = modality(payload["modality"]).training(dataset, config, bench.torch_device(), preparation)
        film = Film(payload["film_prefix"], attempt, bench)
        with film, Checkpoints(payload, attempt, bench, folder, clock, film) as checkpoints:
            checkpoints.resume(training.trainer)
            if team.size > 1:
                training.trainer.save(folder / START)
                team.told(READY)
                training.trainer.join(team)
            Run(training, checkpoints, film, bench, preparation).go()
            team.leave()
            checkpoints.save(training.trainer, wait=True)  # so that a lost export does not cost the last steps
        bench.line.check()
        bench.line.grace = GRACE
        model = folder / "model"
        model.mkdir()
        at = {"step": training.trainer.step, "steps": training.trainer.steps}
        bench.line.far(1.0, stage="reporting", **at, eta_seconds=None)
        ended = early.stopped(training.trainer, clock.limit)
        report = early.told(training.export(model), ended, model)
        film.keep(model / "film.webp")
        report = cards.carded(report, payload, config.model_dump(mode="json"), model)
        for sentence in report.get("warnings", ()):
            bench.line.event(sentence, "warning")
        files = upload(model, payload["prefix"], bench)
    return {"report": report, "files": files, "steps": training.trainer.step, "stopped_early": ended}


def follow(payload: dict[str, Any], bench: Bench, team: Team, shared: Path) -> None:
    """Take the steps of a training with rank 0, which prepares, judges, saves and reports. Raises as `train` does."""
    bench.line.grace = FOLLOWS
    config = spec(payload["modality"]).train_config.model_validate(payload["config"])
    team.told(READY)
    parts = [Part(_local(part, shared), part["rows"], part["split"]) for part in payload["dataset"]["parts"]]
    dataset = Dataset(payload["dataset"]["schema"], payload["dataset"]["rows"], parts)
    trainer = modality(payload["modality"]).training(dataset, config, bench.torch_device()).trainer
    team.told(READY)
    trainer.load(shared / START)
    trainer.join(team)
    for _ in trainer.run():
        if team.told(READY) == OVER:
            break
    team.leave()


def _local(part: dict[str, Any], folder: Path) -> Path:
    return folder / PurePosixPath(part["key"]).name


def download(dataset: dict[str, Any], bench: Bench, folder: Path) -> Dataset:
    """Raises Rejected where a part is gone, or not as it was written: no modality has to read what is torn."""
    parts: list[Part] = []
    start, all_rows = time.monotonic(), sum(part["rows"] for part in dataset["parts"])
    for part in dataset["parts"]:
        path = _local(part, folder)
        if not _whole(part, path, bench):
            sentence = "A part of the dataset is missing or damaged in the bucket; upload the dataset again."
            raise Rejected("dataset_damaged", sentence)
        bench.line.check()
        rows = part["rows"] + sum(one.rows for one in parts)
        eta = (time.monotonic() - start) / max(rows, 1) * (all_rows - rows)
        bench.line.far(0.0, stage="downloading", eta_seconds=eta)
        parts.append(Part(path, part["rows"], part["split"]))
    return Dataset(dataset["schema"], dataset["rows"], parts)


def _whole(part: dict[str, Any], path: Path, bench: Bench) -> bool:
    """Whether the part could be read as it was written."""
    try:
        bench.store.get_file(part["key"], path)
    except Missing:
        return False
    return checked.of_file(path) == str(part["sha256"])


def upload(model: Path, prefix: str, bench: Bench) -> list[dict[str, Any]]:
    files = []
    for path in sorted(model.iterdir()):
        size, sha256 = bench.store.put_file(prefix + path.name, path)
        files.append({"key": prefix + path.name, "name": path.name, "bytes": size, "sha256": sha256})
    return files


class Checkpoints:
    """Saves the trainer to the bucket now and then; the upload runs beside the training.

    It deletes none: an attempt that is lost without knowing it would delete those that the next one needs."""

    def __init__(
        self, payload: dict[str, Any], attempt: int, bench: Bench, folder: Path, clock: Clock, film: Film
    ) -> None:
        self._payload, self._attempt, self._bench, self._clock, self._film = payload, attempt, bench, clock, film
        self._path = folder / "checkpoint.safetensors"
        self._kept = [key for key in (payload.get("checkpoint_before"), payload["checkpoint"]) if key]
        self._thread = ThreadPoolExecutor(1)
        self._upload: Future[None] | None = None
        self._saved = time.monotonic()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()

    def resume(self, trainer: Trainer) -> None:
        """Load the last checkpoint; if it is torn or altered, the one before it; else start from the beginning."""
        for key in reversed(self._kept):
            try:
                self._bench.store.get_file(key, self._path)
                if not checked.fits(key, checked.of_file(self._path)):
                    raise Unusable("It is not as it was written.")
                trainer.load(self._path)
            except (Missing, Unusable):
                self._bench.line.event("A checkpoint could not be read; going on from an earlier one.", "warning")
                continue
            self._bench.line.event(f"Training goes on from step {trainer.step}.")
            return
        if self._kept:
            self._bench.line.event("No checkpoint could be read; training starts again.", "warning")
            self._clock.spent = 0.0

    def due(self) -> bool:
        waited = time.monotonic() - self._saved >= self._bench.checkpoint_seconds
        return waited and (self._upload is None or self._upload.done())

    def save(self, trainer: Trainer, *, wait: bool = False) -> None:
        """Write the state now, upload it beside the next steps or, with `wait`, before going on."""
        if self._upload is not None:
            self._upload.result()
        trainer.save(self._path)
        self._upload = self._thread.submit(self._put, trainer.step, self._clock.seconds())
        self._saved = time.monotonic()
        if wait:
            self._upload.result()

    def _put(self, step: int, seconds: float) -> None:
        start = f"{self._payload['checkpoint_prefix']}a{self._attempt}-{step}"
        key = checked.named(start, checked.of_file(self._path), "safetensors")
        self._film.stored()
        try:
            self._bench.store.put_file(key, self._path)
        except STORAGE_ERRORS:
            traceback.print_exc()  # for operators
            sentence = "A checkpoint could not be stored; training goes on, and the next one is tried when it is due."
            self._bench.line.event(sentence, "warning")
            return
        self._bench.line.send("checkpoint", key=key, step=step, seconds=seconds)


class Run:
    """The steps, and what is said about them."""

    def __init__(
        self, training: Training, checkpoints: Checkpoints, film: Film, bench: Bench, preparation: Preparation
    ) -> None:
        self.training, self.checkpoints, self.film, self.line = training, checkpoints, film, bench.line
        self.clock, self._before, self._guess = preparation.clock, preparation.fraction, preparation.eta
        self.steps = training.trainer.steps
        self._stamp, self._pace, self._told = time.monotonic(), 0.0, 0.0
        self._at = training.trainer.step
        self._evaluated = self._at // max(1, self.steps // EVALUATIONS)
        self._pieces = 1

    def go(self) -> None:
        self.line.grace = DRAIN_SECONDS
        trainer = self.training.trainer
        self._far(trainer.step)
        for progress in trainer.run():
            self._say(progress)
            self._say_pieces(trainer)
            asked, late = self.line.asked, self.clock.over
            trainer.team.told(OVER if asked or late else READY)
            if asked:
                self._stop(trainer)
            if late:
                self.line.event(
                    f"The time limit of {self.clock.limit} s is reached at step {progress.step}.", "warning"
                )
                trainer.keep_best()
                break
            if self.checkpoints.due():
                self.checkpoints.save(trainer)
        self._picture(trainer.step)  # the film ends with the average that is kept

    def _picture(self, step: int) -> None:
        if (picture := self.training.picture()) is not None:
            self.film.add(step, picture)

    def _stop(self, trainer: Trainer) -> None:
        if self.line.asked == "drain":
            self.checkpoints.save(trainer, wait=True)
        raise Stop

    def _say(self, progress: Progress) -> None:
        self._far(progress.step)
        values = {name: value for name, value in (progress.metrics or {}).items() if isfinite(value)}  # JSON has no NaN
        stride = max(1, self.steps // EVALUATIONS)
        if progress.step // stride > self._evaluated:
            self._evaluated = progress.step // stride
            values |= {name: value for name, value in self.training.evaluate().items() if isfinite(value)}
            self._picture(progress.step)
        elif time.monotonic() - self._told < METRICS_SECONDS:
            return
        if values:
            self._told = time.monotonic()
            self.line.send("metrics", step=progress.step, values=values)

    def _say_pieces(self, trainer: Trainer) -> None:
        if trainer.half_steps.pieces != self._pieces:
            self._pieces = trainer.half_steps.pieces
            self.line.event(
                "The device's memory did not suffice for a batch at once: it is computed in "
                f"{self._pieces} pieces, to the same result, which takes a little longer.",
                "warning",
            )

    def _far(self, step: int) -> None:
        now = time.monotonic()
        if step > self._at:
            pace = (now - self._stamp) / (step - self._at)
            self._pace = PACE * self._pace + (1 - PACE) * pace if self._pace else pace
            self._stamp, self._at = now, step
        eta = self.clock.within(self._pace * (self.steps - step) if self._pace else self._guess)
        fraction = self._before + (1 - self._before) * step / self.steps
        self.line.far(fraction, stage="training", step=step, steps=self.steps, eta_seconds=eta)
