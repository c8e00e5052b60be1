"""The rules that a user can demand of every generated row, as the train config takes them. Torch-free, numpy-free.

`rulecheck` judges them against a schema; `structure` builds them into the way from generated values to rows."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(min_length=1, max_length=1_000)]
Bound = Annotated[int | float | str, Field(description="A number, or a date such as '2024-03-01'.")]
MOST = 100  # rules a training


class Rule(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Inequality(Rule):
    """One column is never above another, in rows where both are there."""

    kind: Literal["inequality"]
    low: Name
    high: Name
    strict: bool = Field(False, description="Nor equal to it.")


class Between(Rule):
    """A column lies between two others, or between a column and a fixed value."""

    kind: Literal["between"]
    column: Name
    low: Name
    high: Name
    strict: bool = False


class Range(Rule):
    """A number or time keeps within fixed bounds."""

    kind: Literal["range"]
    column: Name
    minimum: Bound | None = None
    maximum: Bound | None = None
    strict: bool = Field(False, description="The bounds themselves are excluded.")


class Positive(Rule):
    """A number is above zero."""

    kind: Literal["positive"]
    column: Name


class FixedCombinations(Rule):
    """These columns take no combination of values that the training rows do not have."""

    kind: Literal["fixed_combinations"]
    columns: list[Name] = Field(min_length=2, max_length=10)


class Sum(Rule):
    """One number is the sum of others."""

    kind: Literal["sum"]
    total: Name
    parts: list[Name] = Field(min_length=1, max_length=100)


class Formula(Rule):
    """A column follows from others: `price * quantity`. Numbers are rounded to the column's decimals."""

    kind: Literal["formula", "product"]
    column: Name
    expression: str = Field(min_length=1, max_length=4_000)


class OneHot(Rule):
    """Exactly one of these columns is 1 or true."""

    kind: Literal["one_hot"]
    columns: list[Name] = Field(min_length=2, max_length=1_000)


class Unique(Rule):
    """No two rows of an output share this value, or this combination of values."""

    kind: Literal["unique"]
    columns: list[Name] = Field(min_length=1, max_length=10)


class Expression(Rule):
    """True of every row: `age >= 18 or status == 'minor'`. Where a missing value decides, a row passes; what cannot be
    worked out though nothing is missing, such as the root of a number below zero, is not true."""

    kind: Literal["expression"]
    expression: str = Field(min_length=1, max_length=4_000)


Constraint = Annotated[
    Inequality | Between | Range | Positive | FixedCombinations | Sum | Formula | OneHot | Unique | Expression,
    Field(discriminator="kind"),
]


def described(rule: Rule) -> str:
    """The rule in a few words, for refusals and reports."""
    match rule:
        case Inequality():
            return f"{rule.low} {'<' if rule.strict else '<='} {rule.high}"
        case Between():
            sign = "<" if rule.strict else "<="
            return f"{rule.low} {sign} {rule.column} {sign} {rule.high}"
        case Range():
            sign = "<" if rule.strict else "<="
            left = "" if rule.minimum is None else f"{rule.minimum} {sign} "
            return f"{left}{rule.column}" + ("" if rule.maximum is None else f" {sign} {rule.maximum}")
        case Positive():
            return f"{rule.column} > 0"
        case FixedCombinations():
            return f"known combinations of {', '.join(rule.columns)}"
        case Sum():
            return f"{rule.total} = {' + '.join(rule.parts)}"
        case Formula():
            return f"{rule.column} = {rule.expression}"
        case OneHot():
            return f"exactly one of {', '.join(rule.columns)}"
        case Unique():
            return f"unique {', '.join(rule.columns)}"
        case Expression():
            return rule.expression
    raise TypeError(type(rule))
