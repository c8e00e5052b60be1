"""Which tables a model can judge. Torch-free, and free of numpy and pyarrow as well."""

from service.domain.modality import Schema
from service.errors import InvalidRequest

UNJUDGED = ("identifier", "text", "constant", "personal")  # made afresh, so a model has no view of their values


def check_scored(schema: Schema, given: Schema) -> None:
    """Raises InvalidRequest for rows that lack a column which the model has learned, or have one that it lacks."""
    known = [column["name"] for column in schema["columns"]]
    there = {column["name"] for column in given["columns"]}
    missing = [c["name"] for c in schema["columns"] if c["type"] not in UNJUDGED and c["name"] not in there]
    if missing:
        raise _refused(f"The dataset has no column {missing[0]!r}{_more(missing)}, which the model has learned.")
    unknown = [column["name"] for column in given["columns"] if column["name"] not in known]
    if unknown:
        raise _refused(f"The model has no column {unknown[0]!r}{_more(unknown)}; leave it out of the rows to score.")
    if all(column["type"] in UNJUDGED for column in schema["columns"]):
        raise _refused("The model has learned none of its columns, so it cannot judge any row.")


def _more(names: list[str]) -> str:
    return f", nor {len(names) - 1} others" if len(names) > 1 else ""


def _refused(message: str) -> InvalidRequest:
    return InvalidRequest(message, errors=[{"path": "dataset_id", "message": message}])
