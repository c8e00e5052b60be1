"""Which columns hold what is somebody's own: e-mail addresses, names, telephones, account numbers and the like.

Told by what the values look like (a checksum where there is one) and by the column's name together. A name alone
never decides. E-mail addresses, account, card, telephone and social security numbers of clear form are personal however
many rows share one, and so are names where the column speaks of people; other values that many rows share are a
category."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from workers.modalities.table import forms, locales

SAMPLE = 400  # different values that are looked at
MOST = 0.8  # of them must be of an entity's form
HALF = 0.5  # of them must be of a form that leaves no doubt
OVERRIDE = "If they are not people's own, give the column the type category."
FEW_LEVELS, FEW_CONTACTS, FEW_NAMES = 20, 10, 3
ENTITIES = {hint: entity for entity, hints in forms.HINTS.items() for hint in hints}
Column = dict[str, Any]


@dataclass(frozen=True)
class Values:
    """What is known of a column's values: some different ones, and how many there are."""

    name: str
    some: list[str]  # trimmed, all different
    filled: int  # rows that have one
    distinct: int  # an estimate where there are many
    textual: bool  # as the file gives them; whole numbers otherwise


@dataclass(frozen=True)
class Found:
    entity: str
    reason: str
    more: Column = field(default_factory=dict)


# -- finding them -------------------------------------------------------------------------------------------------


def find(values: Values) -> Found | None:
    """What personal thing a column holds, or None if it holds none."""
    if len(values.some) < 2:
        return single(values) if values.some else None
    hinted = _hint(values.name)
    if hinted and (values.textual or hinted in forms.WHOLE) and _share(values.some, forms.BY_NAME[hinted]) >= MOST:
        if hinted in forms.UNSHARED and 2 * values.distinct < values.filled:
            return None
        return _found(hinted, values, f"The column is called {values.name!r} and holds {forms.TITLES[hinted]}.")
    if found := strictly(values):
        return found
    for entity, form, whole in forms.BY_CONTENT:
        if (values.textual or whole) and _share(values.some[:40], form) >= 0.5:
            several = len(values.some) >= (10 if entity in ("credit_card", "national_id") else 2)
            if several and _share(values.some, form) >= MOST and (entity in forms.SECRET or _rare(values)):
                return _found(entity, values, f"Most values are {forms.TITLES[entity]}.")
    return _people(values) if values.textual else None


def strictly(values: Values) -> Found | None:
    """What most values are by a form that leaves no doubt, be they shared by however many rows."""
    for entity, form in forms.STRICT.items():
        some = values.some
        if not values.textual and entity != "credit_card":  # numbers with a plus may be telephones
            some = some if entity == "phone" and _share(some, lambda value: value.startswith("+")) >= MOST else []
        if _share(some, form) >= (MOST if entity == "credit_card" else HALF):
            return _found(entity, values, f"Most values are {forms.TITLES[entity]}.")
    return None


def single(values: Values) -> Found | None:
    """What the value is that all rows share."""
    if found := strictly(values):
        return found
    hinted, (value,) = _hint(values.name), values.some
    own = hinted in forms.STRICT or hinted == "national_id"
    if hinted and own and (values.textual or hinted in forms.WHOLE) and forms.BY_NAME[hinted](value):
        return _found(hinted, values, f"The column is called {values.name!r} and holds {forms.TITLES[hinted]}.")
    if hinted in ("first_name", "last_name") and values.textual and forms.BY_NAME[hinted](value):
        return _found(hinted, values, f"The column is called {values.name!r} and holds {forms.TITLES[hinted]}.")
    named = hinted == "name" or _weak(values.name) or _of_people(values.name)
    if named and values.textual and forms.person(value):
        return _found("name", values, f"The column is called {values.name!r} and holds a person's name. {OVERRIDE}")
    return None


def wanted(values: Values, entity: str | None) -> Found | None:
    """What a user says it is; None if they do not say what, and it is not to be seen."""
    if entity is not None:
        return _found(entity, values, "The upload's options say so.")
    seen = find(values)
    named = _hint(values.name) or ("name" if _weak(values.name) else None)
    entity = seen.entity if seen else named
    return _found(entity, values, "The upload's options say so.") if entity else None


def _people(values: Values) -> Found | None:
    """Names of people in a column that does not clearly say so."""
    if _share(values.some[:40], forms.person) >= 0.3 and _share(values.some, forms.person) >= 0.4:
        alike = _share(values.some, lambda value: forms.PERSON.match(value) is not None)
        if alike >= MOST and values.filled < FEW_NAMES * values.distinct:
            return _found("name", values, "Most values read like names of people, and few rows share one.")
    if _of_people(values.name) or _weak(values.name):
        least = 0.3 if _of_people(values.name) else HALF  # a thing's name may begin with a person's
        alike = _share(values.some, lambda value: forms.PERSON.match(value) is not None)
        if alike >= MOST and _share(values.some, forms.person) >= least:
            return _found("name", values, f"The column is called {values.name!r} and holds names. {OVERRIDE}")
    if _of_people(values.name) and _share(values.some, forms.called) >= MOST:
        return _found("first_name", values, f"The column is called {values.name!r} and holds first names. {OVERRIDE}")
    rare = _weak(values.name) and values.filled < FEW_CONTACTS * values.distinct
    if rare and len(values.some) >= 10 and _share(values.some, forms.called) >= 0.5:
        return _found("first_name", values, f"The column is called {values.name!r} and holds first names.")
    return None


def _rare(values: Values) -> bool:
    return values.distinct > FEW_LEVELS or values.filled < FEW_CONTACTS * values.distinct


def _share(values: Sequence[str], form: Callable[[str], bool]) -> float:
    return sum(map(form, values)) / max(1, len(values))


def _hint(name: str) -> str | None:
    """The entity of which the column's name speaks, by its longest hint: ip_address is no address."""
    words = words_of(name).split("_")
    ends = ("_".join(words[start:]) for start in range(len(words)))
    return next((ENTITIES[end] for end in ends if end in ENTITIES), None)


def _weak(name: str) -> bool:
    """Whether the column is called after names or people, which may be anything's."""
    words = words_of(name).split("_")
    return words[-1] in forms.WEAK_NAME


def _of_people(name: str) -> bool:
    """Whether the column is called after people, who are no things."""
    joined = words_of(name).removesuffix("_name").removesuffix("_names")
    return any(joined == who or joined.endswith(f"_{who}") for who in forms.PEOPLE)


def words_of(name: str) -> str:
    """A column's name in plain small letters, its words joined by underscores: `customerE-Mail` is customer_e_mail."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    plain = re.sub(r"([a-z\d])([A-Z])", r"\1_\2", plain).lower()
    return re.sub(r"[^a-z\d]+", "_", plain).strip("_")


def _found(entity: str, values: Values, reason: str) -> Found:
    votes = locales.of_column(entity, values.some)
    return Found(entity, reason, {"votes": dict(votes)} | _form(entity, values))


# -- how they are written -----------------------------------------------------------------------------------------


def _form(entity: str, values: Values) -> Column:
    """What the made-up values take over of the real ones' form, none of which is anyone's own."""
    if not values.some:
        return {}
    if entity == "ip":
        return {"version": 6 if _share(values.some, lambda value: ":" in value) > 0.5 else 4}
    if entity == "iban":
        country = Counter(value.strip()[:2].upper() for value in values.some).most_common(1)[0][0]
        return {"country": country, "spaced": _share(values.some, lambda value: " " in value) > 0.5}
    if entity in ("phone", "credit_card", "ssn"):
        mask = _mask(values.some)
        return {"mask": mask} if mask else {}
    if entity == "name":
        return {"family_first": _share(values.some, lambda value: "," in value) > 0.5} | _letters(values)
    if entity == "address":
        return {"whole": _share(values.some, lambda value: "," in value or "\n" in value) > 0.6}
    return _letters(values) if entity in ("first_name", "last_name") else {}


def _letters(values: Values) -> Column:
    """Whether all is written in capitals, or all small."""
    if _share(values.some, str.isupper) > 0.8:
        return {"letters": "upper"}
    return {"letters": "lower"} if _share(values.some, str.islower) > 0.8 else {}


def _mask(some: Sequence[str]) -> str | None:
    """The most frequent arrangement of digits, if several values have it: '(###) ###-####'."""
    masks = Counter(re.sub(r"\d", "#", value) for value in some)
    mask, count = masks.most_common(1)[0]
    return mask if count >= min(3, len(some)) and re.match(r"^[#+ ()./-]+$", mask) else None


# -- the table as a whole -----------------------------------------------------------------------------------------

PERSONS = ("email", "name", "first_name", "last_name", "username")
IDENTIFYING = ("email", "name", "username")


def settled(columns: list[Column], locale: str | None, consistent: bool) -> list[Column]:
    """The columns with the locale that they agree on, and who of them speak of the same person."""
    votes = [column.pop("votes", {}) for column in columns]
    spoken = locale or locales.agreed(votes)
    shared = {column["name"] for column in columns if column.pop("shared", False)}
    people = _persons(columns, shared) if consistent else {}
    out = []
    for column in columns:
        if column["type"] == "personal":
            column = column | {"locale": spoken}
            if column["name"] in people:
                same = [one for one in columns if people.get(one["name"]) == people[column["name"]]]
                column |= {"person": people[column["name"]], "distinct": _together(same)}
        out.append(column)
    return out


def _together(columns: list[Column]) -> int | None:
    """How many different people the columns of one person know; None: one a row."""
    known = [column["distinct"] for column in columns if column["entity"] in IDENTIFYING]
    return None if not known or None in known else max(known)


def _persons(columns: list[Column], shared: set[str]) -> dict[str, str]:
    """Columns of the same person by what their names begin with, or all where no entity comes twice. A few people whom
    many rows share, such as those who look after customers, are not the people whom the rows are about."""
    own = [column for column in columns if column["type"] == "personal" and column["entity"] in PERSONS]
    sizes = [column["distinct"] for column in own if column["entity"] in IDENTIFYING]
    largest = float("inf") if None in sizes else max(sizes, default=0)
    own = [column for column in own if column["name"] not in shared or 2 * column["distinct"] >= largest]
    counts = Counter(column["entity"] for column in own)
    if not counts or max(counts.values()) == 1:
        return {column["name"]: "person" for column in own} if len(own) > 1 else {}
    starts = {column["name"]: _start(column) for column in own}
    alike = Counter(starts.values())
    return {name: start or "person" for name, start in starts.items() if alike[start] > 1}


def _start(column: Column) -> str:
    """What stands before the entity in a column's name: 'buyer' of buyer_email."""
    joined = words_of(column["name"])
    known = ("full_name", "fullname", "name") if column["entity"] == "name" else forms.HINTS[column["entity"]]
    hints = sorted(known, key=len, reverse=True)
    return next((joined.removesuffix(hint).strip("_") for hint in hints if joined.endswith(hint)), joined)
