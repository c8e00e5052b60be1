"""What tables offer and accept, for the service to read. Torch-free, and free of numpy and pyarrow as well."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from service.domain.modality import DatasetOptions, ModalitySpec, Schema, TrainConfig
from workers.modalities.table.conditions import check_conditions, check_given, same_level
from workers.modalities.table.rulecheck import check_constraints
from workers.modalities.table.rules import MOST, Constraint
from workers.modalities.table.scored import check_scored
from workers.modalities.table.target import check_target

__all__ = ["SPEC", "TableConfig", "TableOptions", "check_conditions", "recognises", "same_level"]

ColumnType = Literal[
    "integer", "float", "boolean", "category", "datetime", "date", "time", "duration", "identifier", "constant", "text",
    "personal", "personal:email", "personal:name", "personal:first_name", "personal:last_name", "personal:username",
    "personal:phone", "personal:address", "personal:city", "personal:postcode", "personal:company", "personal:iban",
    "personal:credit_card", "personal:ssn", "personal:national_id", "personal:ip", "personal:url",
]  # fmt: skip
Locale = Literal[
    "bg_BG", "cs_CZ", "da_DK", "de_AT", "de_CH", "de_DE", "el_GR", "en_AU", "en_CA", "en_GB", "en_IE", "en_IN", "en_NZ",
    "en_US", "es_AR", "es_CL", "es_CO", "es_ES", "es_MX", "et_EE", "fi_FI", "fr_BE", "fr_CA", "fr_CH", "fr_FR", "he_IL",
    "hr_HR", "hu_HU", "it_CH", "it_IT", "ja_JP", "ko_KR", "lt_LT", "lv_LV", "nl_BE", "nl_NL", "no_NO", "pl_PL", "pt_BR",
    "pt_PT", "ro_RO", "ru_RU", "sk_SK", "sl_SI", "sv_SE", "th_TH", "tr_TR", "uk_UA", "zh_CN", "zh_TW",
]  # fmt: skip
TEXT_EXTENSIONS = (".csv", ".tsv", ".txt", ".jsonl", ".ndjson", ".json")
EXTENSIONS = (*TEXT_EXTENSIONS, *(f"{extension}.gz" for extension in TEXT_EXTENSIONS), ".parquet", ".pq")

# First bytes of what is certainly no table: ZIP and Excel, PNG, JPEG, GIF, WebP, PDF, old Office, 7z, xz, bzip2, zstd.
FOREIGN = (
    b"PK\x03\x04", b"PK\x05\x06", b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"%PDF", b"\xd0\xcf\x11\xe0",
    b"7z\xbc\xaf", b"\xfd7zXZ", b"BZh", b"\x28\xb5\x2f\xfd", b"\x7fELF",
)  # fmt: skip
PRIVATE_STEPS = 20_000
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


class TableOptions(DatasetOptions):
    """How to read a table; what is left out is found out."""

    delimiter: str | None = Field(
        None,
        pattern=r"^[\x01-\x09\x0b\x0c\x0e-\x21\x23-\x7f]$",  # ASCII, and no quote or end of line
        description="Between values of a CSV, one ASCII character; sniffed if absent.",
    )
    encoding: str | None = Field(
        None, max_length=40, description="Of a text file, such as 'cp1252'; detected if absent."
    )
    header: bool | None = Field(None, description="Whether the first line names the columns; detected if absent.")
    types: Mapping[str, ColumnType] = Field(
        default_factory=dict,
        description="Column types that are known better than inference finds them. 'personal:email' says what a "
        "personal column holds.",
    )
    locale: Locale | None = Field(
        None, description="Of made-up names, addresses and the like, such as 'de_DE'; guessed from the data if absent."
    )
    consistent_people: bool = Field(
        True, description="Whether the made-up name, e-mail address and user name in one row are those of one person."
    )
    min_level_rows: int | None = Field(
        None,
        ge=1,
        le=10_000,
        description="Training rows that must share a category's level for it to be shown, learned or drawn. 5 if "
        "absent; 2 to 4 in tables of fewer than 200 rows.",
    )


class Privacy(BaseModel):
    """What a model may tell of any one training row: (epsilon, delta)-differential privacy, one row there or not."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    epsilon: float = Field(
        gt=0, le=100, description="The smaller, the more private: 1 is strong, 8 is weak, beyond 10 says little."
    )
    delta: float | None = Field(
        None,
        gt=0,
        lt=0.1,
        description="The chance that the promise fails; below one in the number of training rows. 1e-5 if absent, or "
        "their number to the power of -1.1 where that is less.",
    )
    reproducible: bool = Field(
        False,
        description="Draw the noise from the seed rather than from a secret of the run. Whoever knows the seed can take"
        " the noise off again: for tests only.",
    )


class TableConfig(TrainConfig):
    """What can be set in a training on a table, all derived from preset and data if absent."""

    batch: int | None = Field(None, ge=8, le=65_536, description="Rows a step; smaller tables use smaller batches.")
    width: int | None = Field(None, ge=16, le=2_048, description="Width of the generator's hidden layers.")
    max_levels: int = Field(
        300,
        ge=2,
        le=2_000,
        description="Levels of a category drawn in one step; one with more is drawn in two, a group and its member.",
    )
    max_rows: int = Field(500_000, ge=10, le=5_000_000, description="Training rows kept in memory, drawn at random.")
    constraints: list[Constraint] = Field(
        default_factory=list, max_length=MOST, description="Rules that every generated row meets; see docs/tables.md."
    )
    structure: Literal["search", "stated"] = Field(
        "search",
        description="Whether rules that nobody stated are looked for in the training rows, or only those of "
        "`constraints` are kept.",
    )
    privacy: Privacy | None = Field(None, description="Train with differential privacy; see docs/tables.md.")

    @model_validator(mode="after")
    def _few_private_steps(self) -> Self:
        if self.privacy is not None and (self.steps or 0) > PRIVATE_STEPS:
            raise ValueError(f"With privacy up to {PRIVATE_STEPS} steps are made: each spends some of epsilon.")
        return self


def check_config(schema: Schema, config: Mapping[str, Any]) -> None:
    """Raises InvalidRequest for rules that cannot be kept on this schema, or that contradict each other."""
    check_constraints(schema, config["constraints"])


def recognises(head: bytes, filename: str) -> bool:
    """Parquet, or anything textual that is no archive and no picture. Content decides; the name only for no content."""
    name = filename.lower()
    if not head:
        return name.endswith(EXTENSIONS)
    if head.startswith(b"PAR1"):
        return True
    if head.startswith(b"\x1f\x8b"):
        return name.endswith(".gz") and not name.endswith((".tar.gz", ".tgz"))
    if head.startswith(FOREIGN) or head[257:262] == b"ustar":
        return False
    return head.startswith(UTF16_MARKS) or head.count(0) == 0 or _utf16_without_mark(head)


def _utf16_without_mark(head: bytes) -> bool:
    """Western text in UTF-16 has a zero in nearly every other byte."""
    even, odd, half = head[0::2].count(0), head[1::2].count(0), max(1, len(head) // 2)
    return min(even, odd) == 0 and max(even, odd) > 0.7 * half


SPEC = ModalitySpec(
    name="table",
    title="Tables",
    summary="Rows and columns of numbers, categories, dates and missing values, from CSV, TSV, JSON Lines or Parquet.",
    extensions=EXTENSIONS,
    dataset_options=TableOptions,
    train_config=TableConfig,
    formats=("parquet", "csv", "jsonl"),
    shard_samples=1_000_000,
    preview="rows",
    recognises=recognises,
    check_conditions=check_conditions,
    check_target=check_target,
    check_given=check_given,
    check_scored=check_scored,
    check_config=check_config,
    figures={name: (name,) for name in ("shape", "trend", "c2st_auc", "dcr_share")},
)
