"""Rules that nobody stated but that the training rows keep, looked for in turn: the surest first."""

from __future__ import annotations

from workers.modalities.table.structure.build import Table
from workers.modalities.table.structure.find_identities import identities
from workers.modalities.table.structure.find_lookups import calendars, lookups, thresholds
from workers.modalities.table.structure.find_near import near_identities
from workers.modalities.table.structure.find_orders import copies, orders
from workers.modalities.table.structure.find_surfaces import surfaces
from workers.modalities.table.structure.plan import ENOUGH, Plan
from workers.modalities.table.structure.steps import Step


def found(table: Table, steps: list[Step], fixed: set[str]) -> list[Step]:
    """The steps and those that were found; columns that steps make, or that are `fixed`, are made by no other."""
    if table.rows < ENOUGH:
        return steps
    plan = Plan(table, list(steps), fixed)
    for search in (calendars, lookups, identities, thresholds, orders, copies, near_identities, surfaces):
        search(plan)
    return plan.steps
