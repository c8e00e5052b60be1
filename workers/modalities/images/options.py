"""What a generation of pictures can be asked for beside classes: truncation, films, mixes, edits, sheets. Torch-free.

What each of them does to a latent is in latent.py; docs/images.md says it for people."""

import math
from dataclasses import replace
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from service.domain.modality import Asked, GenerateOptions, Schema
from service.errors import InvalidRequest

LATENT = 64  # directions there are: one for each number of a latent
SHOWN = 1_000  # pictures in a film or a sheet
SHOWN_BYTES = 64 << 20  # of their pixels
PROJECTED = 100  # pictures projected by one job: each takes seconds
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Strength = Annotated[float, Field(ge=-20, le=20, allow_inf_nan=False)]
Label = str | int


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Interpolation(Part):
    """A film: from picture to picture, along a great circle of latents, and from class to class."""

    seeds: list[Seed] = Field(
        default_factory=list,
        max_length=100,
        description="The first sample of each is a key frame; the job's own seed if absent.",
    )
    labels: list[Label] = Field(
        default_factory=list, max_length=100, description="Classes to pass through; those of the seeds if absent."
    )
    frames: int = Field(16, ge=2, le=SHOWN, description="Of the whole film.")
    loop: bool = Field(False, description="Whether the film ends on its way back to the first key frame.")

    @model_validator(mode="after")
    def _goes_somewhere(self) -> Self:
        if max(len(self.seeds), len(self.labels)) < 2:
            raise ValueError("Name two or more seeds, or two or more labels, to go between.")
        if max(len(self.seeds), len(self.labels)) > self.frames:
            raise ValueError("There are more seeds or labels than frames.")
        return self


class Mix(Part):
    """Pictures with what is coarse from one seed and what is fine from another."""

    coarse: Seed | None = Field(None, description="The first sample of this seed; the job's own samples if absent.")
    fine: Seed | None = Field(None, description="Likewise.")
    split: int = Field(4, ge=1, lt=LATENT, description="How many of the strongest directions are coarse.")

    @model_validator(mode="after")
    def _has_a_seed(self) -> Self:
        if self.coarse is None and self.fine is None:
            raise ValueError("Name the seed of what is coarse, of what is fine, or both.")
        return self


class Edit(Part):
    """Each picture moved in one direction: one that was found, one that was fitted to a class, or to another class."""

    direction: int | None = Field(
        None, ge=0, lt=LATENT, description="The number of a direction that a sheet shows; 0 changes most."
    )
    looks: Label | None = Field(
        None, description="A class or attribute that the picture is to look more like, while its own class is kept."
    )
    towards: Label | None = Field(None, description="A class to change into; at a strength of 1 it is of that class.")
    strength: Strength = Field(
        1.0, description="Latents have a standard deviation of 1: beyond 3 few pictures hold. Less than 0 goes back."
    )

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if sum(way is not None for way in (self.direction, self.looks, self.towards)) != 1:
            raise ValueError("Say one of 'direction', 'looks' and 'towards'.")
        return self


class Sheet(Part):
    """One sample, moved in each of the strongest directions: a row a direction, less to more."""

    directions: int = Field(8, ge=1, le=LATENT)
    steps: int = Field(7, ge=3, le=25, description="Pictures in a row.")
    strength: Strength = Field(4.0, gt=0, description="Of the last picture in a row; the first has the opposite.")


class ImageGenerateOptions(GenerateOptions):
    """Latent tools: what is done to the latents before pictures are painted."""

    truncation: float = Field(
        1.0,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="Less than 1 draws each picture towards the mean of its class: cleaner, and less diverse.",
    )
    interpolate: Interpolation | None = None
    mix: Mix | None = None
    edit: Edit | None = None
    sheet: Sheet | None = None


def arranged(schema: Schema, options: GenerateOptions, asked: Asked) -> Asked:
    """What is asked for, with the count and format that follow from the options. Raises InvalidRequest for what does
    not go together, and for classes and attributes that the model does not have."""
    if not isinstance(options, ImageGenerateOptions):
        raise TypeError("these are options of another modality")
    _refuse_pairs(options, asked)
    _refuse_unknown(schema, options, asked)
    if options.interpolate is not None:
        asked = _counted(asked, options.interpolate.frames, "The film has as many samples as frames")
    elif options.sheet is not None:
        count = options.sheet.directions * options.sheet.steps
        asked = _counted(asked, count, "The sheet has a sample for each direction and step")
        asked = replace(asked, format=asked.format or "png")
    elif options.mix is not None and None not in (options.mix.coarse, options.mix.fine):
        asked = _counted(asked, 1, "Of two seeds there is one mix")
    _refuse_many(schema, asked)
    return asked


def _counted(asked: Asked, count: int, why: str) -> Asked:
    if asked.count not in (None, count):
        raise refused("count", f"{why}, {count}; leave 'count' out.")
    return replace(asked, count=count)


def _refuse_pairs(options: ImageGenerateOptions, asked: Asked) -> None:
    """Raises InvalidRequest for options that do not go together."""
    named = [name for name in ("interpolate", "mix", "sheet") if getattr(options, name) is not None]
    if asked.given is not None and (named or options.truncation < 1):
        name = named[0] if named else "truncation"
        raise refused(f"options.{name}", "Given pictures are projected as they are; only 'edit' goes with them.")
    if asked.given is not None and asked.format not in (None, "zip", "png"):
        raise refused("format", "Given pictures and what became of them are written as zip or png.")
    if len(named) > 1:
        raise refused(f"options.{named[1]}", f"This does not go with '{named[0]}'; ask for one of them.")
    if options.sheet is not None and options.edit is not None:
        raise refused("options.edit", "A sheet shows edits of its own; ask for one of them.")
    if options.interpolate is not None and options.interpolate.labels and "label" in asked.conditions:
        raise refused("conditions.label", "The film names its classes itself; say them in one of the two places.")


def _refuse_unknown(schema: Schema, options: ImageGenerateOptions, asked: Asked) -> None:
    """Raises InvalidRequest for a class or attribute that the model does not know."""
    film, edit = options.interpolate, options.edit
    for place, label in enumerate(film.labels if film is not None else ()):
        _refuse_strange(schema, f"options.interpolate.labels.{place}", label, classes_of(schema))
    if edit is not None and edit.towards is not None:
        _refuse_strange(schema, "options.edit.towards", edit.towards, classes_of(schema))
    if edit is not None and edit.looks is not None:
        _refuse_strange(schema, "options.edit.looks", edit.looks, [*classes_of(schema), *attributes_of(schema)])


def _refuse_strange(schema: Schema, path: str, name: Label, known: list[str]) -> None:
    if not known:
        raise refused(path, "The model's pictures have no labels, so none can be asked for.")
    if isinstance(name, bool) or str(name) not in known:
        some = ", ".join(f"'{one}'" for one in known[:20]) + (", ..." if len(known) > 20 else "")
        raise refused(path, f"There is no {str(name)[:60]!r}; there are {some}.")


def _refuse_many(schema: Schema, asked: Asked) -> None:
    """Raises InvalidRequest for more than fits."""
    if asked.given is not None and (asked.count or asked.given) > PROJECTED:
        raise refused("count", f"A job projects up to {PROJECTED} pictures; say how many of the first with 'count'.")
    if asked.format in ("png", "webp"):
        size = int(schema.get("height", 1)) * int(schema.get("width", 1)) * int(schema.get("channels", 1))
        most = min(SHOWN, SHOWN_BYTES // size)
        if (asked.count or asked.given or 0) > most:
            raise refused("count", f"One {asked.format} holds up to {most} pictures of this size; a zip holds more.")


def shown(options: ImageGenerateOptions, count: int) -> tuple[int, list[str], list[str]]:
    """How `count` pictures are laid out to be looked at: (columns, words above them, words left of the rows)."""
    sheet = options.sheet
    if sheet is None:
        return math.ceil(math.sqrt(count)), [], []
    strengths = [sheet.strength * (2 * step / (sheet.steps - 1) - 1) for step in range(sheet.steps)]
    heads = [f"{strength:+.3g}" if abs(strength) > 1e-9 else "0" for strength in strengths]
    return sheet.steps, heads, [str(direction) for direction in range(sheet.directions)]


def classes_of(schema: Schema) -> list[str]:
    return list(schema.get("classes") or ())


def attributes_of(schema: Schema) -> list[str]:
    """Names of what the training pictures are labelled with beside their class, and can have more or less of."""
    found: Any = schema.get("attributes") or ()
    return [str(one["name"]) for one in found if one["type"] in ("boolean", "number")]


def refused(path: str, message: str) -> InvalidRequest:
    return InvalidRequest(message, errors=[{"path": path, "message": message}])
