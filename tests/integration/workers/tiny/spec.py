"""What the tests' modality offers. Torch-free."""

from pydantic import Field

from service.domain.modality import DatasetOptions, ModalitySpec, TrainConfig


class TinyConfig(TrainConfig):
    pause: float = Field(0.0, description="Seconds that each step takes at least.")
    fit_pause: float = Field(0.0, description="Seconds that preparing the run takes at least.")
    export_pause: float = Field(0.0, description="Seconds that the export takes at least.")
    die_at: int | None = Field(None, description="The step at which every attempt kills its process.")
    memory_error_at: int | None = Field(None, description="The step at which memory runs out.")
    room: int | None = Field(None, description="How many samples a training step has memory for.")
    odd: bool = Field(False, description="Evaluate to a number of a name that PostgreSQL does not store.")
    draws: bool = Field(False, description="Has pictures of its samples.")
    nan: bool = Field(False, description="Train on what is not a number.")


SPEC = ModalitySpec(
    name="tiny",
    title="Numbers",
    summary="For tests.",
    extensions=(".tiny",),
    dataset_options=DatasetOptions,
    train_config=TinyConfig,
    formats=("csv",),
    shard_samples=100,
    preview="rows",
    recognises=lambda head, filename: head.startswith(b"TINY"),
    check_conditions=lambda schema, conditions, config: None,
    check_target=lambda schema, target, method, config: None,
    several_gpus=True,
)
