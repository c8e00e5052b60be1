"""Which column of a table a dataset can be augmented for. Torch-free, and free of numpy and pyarrow as well."""

from collections.abc import Mapping
from typing import Any

from service.domain.modality import Method, Schema
from service.errors import InvalidRequest
from workers.modalities.conditions import Shares
from workers.modalities.table.contradictions import against_rules

MOST_CLASSES = 1_000  # each is drawn by itself; and to fill up more than so many is hardly meant
WORDS = {
    "identifier": "a key",
    "text": "free text",
    "constant": "a column that always says the same",
    "personal": "personal data",
}


def check_target(schema: Schema, target: str | None, method: Method, config: Mapping[str, Any]) -> None:
    """Raises InvalidRequest for a column that has no classes to fill up, or nothing that could be predicted; and for
    classes that the rules of the training (in its `config`) leave no rows."""
    if target is None:
        if method == "enlarge":
            return
        raise _refused("To balance needs a target: the column whose classes are filled up.")
    column = next((column for column in schema["columns"] if column["name"] == target), None)
    if column is None:
        raise _refused(f"The dataset has no column {target!r}.")
    if message := _objection(column, method) or _against_rules(schema, column, method, config):
        raise _refused(message)


def _objection(column: Mapping[str, Any], method: Method) -> str | None:
    name, levels = column["name"], column.get("levels")
    if column["type"] in WORDS:
        return f"Column {name!r} is {WORDS[column['type']]}, which can be no target; name another."
    if levels is None:
        if method == "enlarge":
            return None
        return f"Column {name!r} has no levels that could be balanced; use the method 'enlarge', or name a category."
    if len(levels) < 2:
        return f"Column {name!r} has a single class; there is nothing to balance or to predict."
    if method == "balance" and len(levels) > MOST_CLASSES:
        return f"Column {name!r} has {len(levels)} classes; at most {MOST_CLASSES} are balanced. Use 'enlarge'."
    return None


def _against_rules(schema: Schema, column: Mapping[str, Any], method: Method, config: Mapping[str, Any]) -> str | None:
    """To balance is to ask for rows of one class at a time."""
    rules, name = config.get("constraints") or (), column["name"]
    if method != "balance" or not rules:
        return None
    levels = tuple(column["levels"])
    every = Shares(levels, (1 / len(levels),) * len(levels))
    found = against_rules(schema["columns"], rules, {name: every})
    return f"Not every class of column {name!r} can be filled up. {found[0][1]}" if found else None


def _refused(message: str) -> InvalidRequest:
    return InvalidRequest(message, errors=[{"path": "target", "message": message}])
