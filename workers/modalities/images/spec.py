"""What the service knows of the images modality: options, config, formats. Torch-free, no pictures are opened here."""

import zlib
from pathlib import Path, PurePosixPath
from typing import Literal, Self

from pydantic import Field, model_validator

from service.domain.modality import Conditions, Config, DatasetOptions, ModalitySpec, Schema, TrainConfig
from service.errors import InvalidCondition
from workers.modalities.conditions import Condition, Objection, read
from workers.modalities.images.options import ImageGenerateOptions, arranged

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".jpe", ".jfif")
EXTENSIONS = (".zip", ".tar", ".tar.gz", ".tgz", ".parquet", *PICTURES)
BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)  # lengths that there are: "BM" alone may begin any text
PARQUET = b"PAR1"
MINIMUM_SIDE, MAXIMUM_SIDE = 16, 512
# Zip files that are something else: office documents, packages, arrays.
OTHER_ZIPS = {".xlsx", ".docx", ".pptx", ".ods", ".odt", ".jar", ".apk", ".npz", ".whl", ".epub", ".pt", ".pth"}

FIGURES = (  # of a report, as far as it has them: there are none of labels where there are no classes
    "label_accuracy", "train_on_synthetic", "coverage", "density", "precision", "recall", "spread",
    "nearest_training_picture", "close_to_training", "KID-EffNetLite0", "FD-EffNetLite0", "KID-Inception",
    "FD-Inception",
)  # fmt: skip


class ImageOptions(DatasetOptions):
    """How to read an archive of pictures."""

    width: int | None = Field(
        None,
        ge=MINIMUM_SIDE,
        le=MAXIMUM_SIDE,
        description="Width in pixels; the median width of the pictures if absent.",
    )
    height: int | None = Field(
        None,
        ge=MINIMUM_SIDE,
        le=MAXIMUM_SIDE,
        description="Height in pixels; the median height of the pictures if absent.",
    )
    channels: Literal["grey", "grey_alpha", "rgb", "rgba"] | None = Field(
        None, description="Inferred if absent: alpha only where it is used, colour only where there is some."
    )
    fit: Literal["crop", "pad", "stretch"] = Field(
        "crop", description="How a picture of another shape is fitted: cut its edges, add bars, or distort it."
    )
    labels: Literal["folders", "file", "none"] | None = Field(
        None,
        description="Where the class labels are: the folders, or a file (labels.csv, the columns of Parquet, what lies "
        "beside each picture). If absent a file's where there is one, else the folders'.",
    )
    label_column: str | None = Field(
        None,
        min_length=1,
        max_length=200,
        description="Which attribute is the class where a file tells several; the others are kept as attributes.",
    )

    @model_validator(mode="after")
    def _label_column_needs_a_file(self) -> Self:
        if self.label_column is not None and self.labels in ("folders", "none"):
            raise ValueError("label_column names a column of a file, so labels must be file or absent")
        return self


class ImageConfig(TrainConfig):
    """How to train on pictures; everything is derived from the preset and the data if absent."""

    network_width: int | None = Field(
        None, ge=16, le=1024, multiple_of=16, description="Channels of the networks at their highest resolution."
    )
    batch: int | None = Field(None, ge=4, le=1024, description="Pictures in a training step.")
    gamma: float | None = Field(
        None,
        gt=0,
        le=10_000,
        description="Strength of the gradient penalty at the start; more is smoother and stabler.",
    )
    mirror: bool | None = Field(
        None, description="Also train on mirrored pictures; if absent, where they look like the others: not for digits."
    )


def _is_tar(block: bytes) -> bool:
    """Whether the block is a tar header: the magic word, or (before POSIX) a checksum that fits."""
    if len(block) >= 262 and block[257:262] == b"ustar":
        return True
    if len(block) < 512 or block[0] == 0:
        return False
    try:
        stated = int(block[148:156].strip(b" \0") or b"0", 8)
    except ValueError:
        return False
    return stated == sum(block[:148]) + 8 * 32 + sum(block[156:512])


def kind(head: bytes) -> Literal["zip", "tar", "tar.gz"] | None:
    """The kind of archive that starts with these bytes, by its magic bytes alone."""
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return "zip"
    if head[:3] == b"\x1f\x8b\x08":
        try:
            return "tar.gz" if _is_tar(zlib.decompressobj(wbits=31).decompress(head, 512)) else None
        except zlib.error:
            return None
    return "tar" if _is_tar(head) else None


def looks_like_picture(data: bytes) -> bool:
    """Whether the magic bytes are those of a format that is read."""
    return (
        data.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a"))
        or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")
        or (data[:2] == b"BM" and int.from_bytes(data[14:18], "little") in BMP_HEADERS)
    )


def recognises(head: bytes, filename: str) -> bool:
    """Whether an upload may hold pictures: an archive, Parquet or a picture alone, by (its first 512 bytes, its file
    name). A picture that is called a table is a mistake, and better told at once."""
    if head.startswith(PARQUET):
        return True
    if looks_like_picture(head):
        return PurePosixPath(filename.lower()).suffix in ("", *PICTURES)
    found = kind(head)
    return found is not None and not (found == "zip" and PurePosixPath(filename.lower()).suffix in OTHER_ZIPS)


def looks_inside(path: Path) -> bool:
    """Whether a file that may be a table's too holds pictures: Parquet with a column of bytes."""
    from workers.modalities.images.columnar import holds_pictures  # not at the top: the service loads no Arrow

    with path.open("rb") as file:
        return file.read(len(PARQUET)) != PARQUET or holds_pictures(path)


def _invalid(path: str, message: str) -> InvalidCondition:
    return InvalidCondition(message, errors=[{"path": path, "message": message}])


def label_index(classes: list[str], value: object) -> int | None:
    """The index of the class that `value` names: its name, or an integer where the name is that integer."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    name = str(value)
    return classes.index(name) if name in classes else None


def label_condition(classes: list[str], given: object) -> Condition:
    """A condition on the label, in indices of classes. Raises Objection."""

    def one(value: object) -> int:
        index = label_index(classes, value)
        if index is None:
            raise Objection(f"There is no class {str(value)[:60]!r}.")
        return index

    return read(given, one)


def check_conditions(schema: Schema, conditions: Conditions, config: Config) -> None:
    """Only the column `label`, and only classes that the dataset has. Raises InvalidCondition."""
    for column in conditions:
        if column != "label":
            raise _invalid(f"conditions.{column}", f"There is no column '{column}'; pictures have only 'label'.")
    if "label" not in conditions:
        return
    classes = schema.get("classes")
    if not classes:
        raise _invalid("conditions.label", "These pictures have no labels, so none can be asked for.")
    try:
        label_condition(list(classes), conditions["label"])
    except Objection as objection:
        known = ", ".join(f"'{name}'" for name in classes[:20]) + (", ..." if len(classes) > 20 else "")
        raise _invalid("conditions.label", f"{objection} The classes are {known}.") from None


def check_scored(schema: Schema, given: Schema) -> None:
    """Pictures of any size, channels and classes can be judged: they are fitted to the model's."""


def check_given(schema: Schema, given: Schema) -> None:
    """Pictures of any size can be projected: they are fitted to the model's."""


SPEC = ModalitySpec(
    name="images",
    title="Images",
    summary="Pictures (PNG, JPEG, WebP, GIF, BMP) in a zip, tar, WebDataset or Parquet; folders or a file give "
    "class labels. 16 to 512 pixels a side. One alone can be projected or judged.",
    extensions=EXTENSIONS,
    dataset_options=ImageOptions,
    train_config=ImageConfig,
    formats=("zip", "webdataset", "parquet", "webp", "png"),
    shard_samples=10_000,
    preview="picture",
    recognises=recognises,
    looks_inside=looks_inside,
    check_conditions=check_conditions,
    check_given=check_given,
    generate_options=ImageGenerateOptions,
    arranged=arranged,
    check_scored=check_scored,
    figures={name: ("figures", name) for name in FIGURES},
    several_gpus=True,
)
