"""Whether a user's rules can be kept on a schema and beside each other, said before anything is trained. Torch-free."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from service.errors import InvalidRequest
from workers.modalities.table import expressions
from workers.modalities.table.ruleforms import (
    Derived,
    Distinct,
    Form,
    Known,
    Limits,
    Order,
    parsed,
    read_forms,
    speaks_of,
)
from workers.modalities.table.rules import Rule, described

MOST_NAMED = 2_000  # columns in all rules together, each as often as a rule names it
SHOWN, LONG = 3, 200  # rules that a sentence names, and characters of each
Edge = tuple[str, str, int]  # of two columns, by a rule


def check_constraints(schema: Mapping[str, Any], constraints: Sequence[Mapping[str, Any] | Rule]) -> None:
    """Raises InvalidRequest, with an error for each rule that cannot be kept on this schema or beside another rule."""
    rules = parsed(constraints)
    found, errors = read_forms(rules, schema["columns"])
    errors = errors or dict(_too_many(found)) or dict(_contradictions(found, rules))
    if errors:
        listed = [{"path": f"config.constraints[{i}]", "message": text} for i, text in sorted(errors.items())]
        more = f" ({len(listed) - 1} more)" if len(listed) > 1 else ""
        raise InvalidRequest(f"{listed[0]['path']}: {listed[0]['message']}{more}", errors=listed)


def _too_many(found: list[Form]) -> Iterator[tuple[int, str]]:
    named = 0
    for form in found:
        named += len(speaks_of(form))
        if named > MOST_NAMED:
            yield form.rule, f"The rules of a training may name {MOST_NAMED} columns in all, and here they name more."
            return


def _contradictions(found: list[Form], rules: list[Rule]) -> Iterator[tuple[int, str]]:
    yield from _owned_twice(found)
    yield from _unique_elsewhere(found)
    yield from _circles(found, rules)
    yield from _crossed(found, rules)


def _owned_twice(found: list[Form]) -> Iterator[tuple[int, str]]:
    """A column can be made in one way only; overlapping sets of known combinations are one larger set."""
    owner: dict[str, Form] = {}
    for form in found:
        made = (form.column,) if isinstance(form, Derived) else getattr(form, "columns", ())
        for name in made:
            first = owner.setdefault(name, form)
            if first is not form and not (isinstance(first, Known) and isinstance(form, Known)):
                yield form.rule, f"Column {name[:60]!r} is made by constraints[{first.rule}] already."


def _unique_elsewhere(found: list[Form]) -> Iterator[tuple[int, str]]:
    unique = {name: form.rule for form in found if isinstance(form, Distinct) for name in form.columns}
    for form in found:
        if isinstance(form, Distinct | Limits):
            continue
        name = next((name for name in speaks_of(form) if name in unique), None)
        if name is not None:
            yield (
                unique[name],
                (
                    f"Column {name[:60]!r} is also in constraints[{form.rule}]; "
                    "a unique column takes no other rule than a range."
                ),
            )


def _circles(found: list[Form], rules: list[Rule]) -> Iterator[tuple[int, str]]:
    """a < b and b < a; a from b and b from a. One circle of each kind is told."""
    for kind, sentence in (
        (Order, "Together with {other}, this leaves the columns no choice but to be equal, or none at all."),
        (Derived, "Together with {other}, this derives a column from itself."),
    ):
        _, circle = _sorted([edge for form in found if isinstance(form, kind) for edge in _edges(form)])
        for rule in circle:
            others = [_told(rules[other]) for other in circle if other != rule][:SHOWN] or [_told(rules[rule])]
            yield rule, sentence.format(other=" and ".join(repr(other) for other in dict.fromkeys(others)))


def _edges(form: Form) -> list[Edge]:
    """From what comes first to what follows from it."""
    if isinstance(form, Order):
        return [(form.low, form.high, form.rule)]
    if isinstance(form, Derived):
        return [(name, form.column, form.rule) for name in expressions.names(form.node)]
    return []


def _sorted(edges: list[Edge]) -> tuple[list[str], list[int]]:
    """The columns, each after those it follows from, as far as that goes; and the rules along a circle, if there is
    one. Each edge is looked at once: whoever asks waits, and so may others."""
    onwards, before = defaultdict[str, list[str]](list), defaultdict[str, list[tuple[str, int]]](list)
    for source, target, rule in edges:
        onwards[source].append(target)
        before[target].append((source, rule))
    waits = {name: len(before.get(name, ())) for name in {**onwards, **before}}
    order = [name for name, count in waits.items() if not count]
    for name in order:  # it grows
        for target in onwards.get(name, ()):
            waits[target] -= 1
            if not waits[target]:
                order.append(target)
    left = {name for name, count in waits.items() if count}
    if not left:
        return order, []
    here, path, seen = next(name for name in waits if name in left), list[int](), dict[str, int]()
    while here not in seen:  # backwards: each that is left waits for another that is
        seen[here] = len(path)
        here, rule = next((source, rule) for source, rule in before[here] if source in left)
        path.append(rule)
    return order, list(dict.fromkeys(path[seen[here] :]))


def _told(rule: Rule) -> str:
    text = described(rule)
    return text if len(text) <= LONG else f"{text[: LONG - 3]}..."


def _crossed(found: list[Form], rules: list[Rule]) -> Iterator[tuple[int, str]]:
    """Bounds that leave a column, or an order of columns, nothing."""
    low, high = dict[str, tuple[float, int]](), dict[str, tuple[float, int]]()
    for form in found:
        if isinstance(form, Limits):
            if form.low is not None and form.low >= low.get(form.column, (-math.inf, 0))[0]:
                low[form.column] = form.low, form.rule
            if form.high is not None and form.high <= high.get(form.column, (math.inf, 0))[0]:
                high[form.column] = form.high, form.rule
    above = defaultdict[str, list[str]](list)
    for form in found:
        if isinstance(form, Order):
            above[form.low].append(form.high)
    for name in _sorted([edge for form in found if isinstance(form, Order) for edge in _edges(form)])[0]:
        for higher in above.get(name, ()):
            if name in low and low[name][0] > low.get(higher, (-math.inf, 0))[0]:
                low[higher] = low[name]
    for name in low:
        if name in high and low[name][0] > high[name][0]:
            one, other = low[name][1], high[name][1]
            yield (
                max(one, other),
                f"This contradicts {_told(rules[min(one, other)])!r}: nothing is left for {name[:60]!r}.",
            )
