"""What a modality tells the service about itself, torch-free: API, CLI, pages and docs are read from it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Preset = Literal["draft", "standard", "best"]
Schema = Mapping[str, Any]  # a dataset's schema as JSON: {"modality": ..., and what the modality puts there}
Method = Literal["balance", "enlarge"]  # how a dataset is augmented
Config = Mapping[str, Any]  # of a training, as JSON, with every default filled in
Conditions = Mapping[str, Any]  # what samples must meet, by column; an image's class is the column "label"


class DatasetOptions(BaseModel):
    """How to read an upload; a modality adds its own fields. Unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    license: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9.+-]{0,99}$",
        description="Under which the data may be used, as an SPDX identifier such as 'CC-BY-4.0'; for the cards of "
        "models and outputs. Unknown if absent.",
    )


class TrainConfig(BaseModel):
    """One dial, the rest derived from it and the data; a modality adds its own fields. Unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    preset: Preset = Field("standard", description="How long to train: draft takes about a minute, best takes hours.")
    steps: int | None = Field(
        None, ge=1, le=10_000_000, description="Training steps; derived from the preset if absent."
    )
    seed: int = Field(0, ge=0, lt=2**63, description="The same data, config and seed give the same model.")
    time_limit_seconds: int | None = Field(
        None,
        ge=1,
        le=30 * 86_400,
        description="Training ends then with what it has; counted from when the work starts.",
    )
    gpus: int = Field(
        1,
        ge=1,
        le=8,
        description="GPUs of one worker that share each training step, where the modality can; the model is the same "
        "but for rounding.",
    )


class GenerateOptions(BaseModel):
    """What else a generation can be asked for; a modality adds its own fields. Unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Asked:
    """The rest of a generation's wish. `given` is the number of samples that are given to be completed."""

    count: int | None
    format: str | None
    conditions: Conditions
    given: int | None


@dataclass(frozen=True)
class ModalitySpec:
    """One modality, as its folder's spec.py declares it in the constant SPEC."""

    name: str  # "table": as in the API and in the name of the folder
    title: str
    summary: str  # a sentence or two for people
    extensions: tuple[str, ...]  # of uploads, with the dot: (".csv", ...)
    dataset_options: type[DatasetOptions]
    train_config: type[TrainConfig]
    formats: tuple[str, ...]  # of outputs; the first is the default
    shard_samples: int  # samples in one generate shard: the unit of work and of the output's files
    preview: Literal["rows", "picture"]  # what GET /v1/models/{id}/samples answers: JSON rows or a PNG
    recognises: Callable[[bytes, str], bool]  # (first 512 bytes of an upload, its file name): is this ours?
    # (schema, conditions, the config that the model was trained with): raises service.errors.InvalidCondition
    check_conditions: Callable[[Schema, Conditions, Config], None]
    # (local path): does a file of which several modalities know the first bytes hold what is ours? Workers ask this
    looks_inside: Callable[[Path], bool] | None = None
    # (schema, target column, method, config of the model): raises InvalidRequest; without it, none can be augmented
    check_target: Callable[[Schema, str | None, Method, Config], None] | None = None
    # (model's schema, schema of a dataset whose rows it is to complete): raises InvalidRequest; without it, none can be
    check_given: Callable[[Schema, Schema], None] | None = None
    # (model's schema, schema of a dataset that it is to judge): raises InvalidRequest; without it, none can be
    check_scored: Callable[[Schema, Schema], None] | None = None
    # raises InvalidRequest for what does not fit the dataset
    check_config: Callable[[Schema, Config], None] | None = None
    # where in a model's report the figures are that a gate can name: the keys that lead there
    figures: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    several_gpus: bool = False  # whether a batch of a training can be shared out: see workers/engine/steps.py
    generate_options: type[GenerateOptions] = GenerateOptions
    # (model's schema, options, what else is asked for): the same with count and format where they follow from the
    # options; raises InvalidRequest for what does not go together
    arranged: Callable[[Schema, GenerateOptions, Asked], Asked] | None = None
