"""Whether a user's rules can be kept on a schema and beside each other, said before anything is trained. Torch-free."""

from __future__ import annotations

import math
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


def check_constraints(schema: Mapping[str, Any], constraints: Sequence[Mapping[str, Any] | Rule]) -> None:
    """Raises InvalidRequest, with an error for each rule that cannot be kept on this schema or beside another rule."""
    rules = parsed(constraints)
    found, errors = read_forms(rules, schema["columns"])
    errors = errors or dict(_contradictions(found, rules))
    if errors:
        listed = [{"path": f"config.constraints[{i}]", "message": text} for i, text in sorted(errors.items())]
        more = f" ({len(listed) - 1} more)" if len(listed) > 1 else ""
        raise InvalidRequest(f"{listed[0]['path']}: {listed[0]['message']}{more}", errors=listed)


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
    """a < b and b < a; a from b and b from a."""
    for kind, sentence in (
        (Order, "Together with {other}, this leaves the columns no choice but to be equal, or none at all."),
        (Derived, "Together with {other}, this derives a column from itself."),
    ):
        edges = [
            (source, target, form.rule)
            for form in found
            if isinstance(form, kind)
            for target, source in _edges(form)
        ]  # fmt: skip
        for source, target, rule in edges:
            back = _way(edges, target, source)
            if back:
                others = [described(rules[other]) for other in back if other != rule] or [described(rules[rule])]
                yield rule, sentence.format(other=" and ".join(repr(other) for other in dict.fromkeys(others)))


def _edges(form: Form) -> list[tuple[str, str]]:
    if isinstance(form, Order):
        return [(form.high, form.low)]
    return [(form.column, name) for name in expressions.names(form.node)] if isinstance(form, Derived) else []


def _way(edges: list[tuple[str, str, int]], start: str, goal: str) -> list[int]:
    """The rules along a way from one column to another; empty if there is none."""
    ways: dict[str, list[int]] = {start: []}
    waiting = [start]
    while waiting:
        here = waiting.pop()
        for source, target, rule in edges:
            if source == here and target not in ways:
                ways[target] = [*ways[here], rule]
                waiting.append(target)
    return ways.get(goal, []) if goal != start else []


def _crossed(found: list[Form], rules: list[Rule]) -> Iterator[tuple[int, str]]:
    """Bounds that leave a column, or an order of columns, nothing."""
    low, high = dict[str, tuple[float, int]](), dict[str, tuple[float, int]]()
    for form in found:
        if isinstance(form, Limits):
            if form.low is not None and form.low >= low.get(form.column, (-math.inf, 0))[0]:
                low[form.column] = form.low, form.rule
            if form.high is not None and form.high <= high.get(form.column, (math.inf, 0))[0]:
                high[form.column] = form.high, form.rule
    orders = [form for form in found if isinstance(form, Order)]
    for _ in orders:
        for form in orders:
            if form.low in low and low[form.low][0] > low.get(form.high, (-math.inf, 0))[0]:
                low[form.high] = low[form.low]
    for name in low:
        if name in high and low[name][0] > high[name][0]:
            one, other = low[name][1], high[name][1]
            yield (
                max(one, other),
                f"This contradicts {described(rules[min(one, other)])!r}: nothing is left for {name[:60]!r}.",
            )
