"""A number that is often the very same as in another column, though it takes many values: amounts carried over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workers.modalities.table.infer import Column
from workers.modalities.table.structure import steps
from workers.modalities.table.structure.entries import Values
from workers.modalities.table.structure.steps import Frame, Given, Step, there


@dataclass
class Copy(Step):
    """`free` says first of which column it is a copy, if of any (the last level), and then its own value where it is
    none."""

    kind: ClassVar[str] = "copy"

    nullable: bool

    @classmethod
    def fit(cls, column: Column, needs: tuple[str, ...], frame: Frame, taken: set[str], **common: Any) -> Copy:
        name = column["name"]
        out = cls((name,), needs, [], frame[name].null_count > 0, **common)
        choice = steps.column(
            steps.unused(f"{name} is a copy of", taken), "category", False, 0.0,
            "Whether the value is the same as in another column.", levels=out.choices().to_pylist(),
        )  # fmt: skip
        own = {key: value for key, value in column.items() if key != "levels"}
        own |= {"name": steps.unused(f"{name} where no copy", taken), "nullable": True}
        out.free = [choice, own]
        made = out.forward(frame, np.random.default_rng(0))
        counted = pc.value_counts(made[choice["name"]])
        choice["levels"] = [
            str(counted.field(0)[int(i)]) for i in np.argsort(-counted.field(1).to_numpy(), kind="stable")
        ]
        own["missing"] = round(made[own["name"]].null_count / max(1, len(frame[name])), 6)
        return out

    def forward(self, frame: Frame, rng: np.random.Generator) -> Frame:
        (target,) = self.makes
        which, own = np.full(len(frame[target]), len(self.needs)), frame[target]
        for i, name in reversed(list(enumerate(self.needs))):
            same = pc.equal(frame[target], frame[name]).fill_null(False).to_numpy(zero_copy_only=False)
            which = np.where(same, i, which)
        none = pa.array(which == len(self.needs))
        return {
            self.free[0]["name"]: self.choices().take(pa.array(which)),
            self.free[1]["name"]: pc.if_else(none, own, pa.scalar(None, own.type)),
        }

    def inverse(self, frame: Frame, rng: np.random.Generator) -> Frame:
        out = frame[self.free[1]["name"]]
        which = Values(self.choices()).codes(frame[self.free[0]["name"]])
        pool = out.drop_null()
        if not self.nullable and len(pool):  # whatever the codec says, there has to be a value
            lost = (which == len(self.needs)) & ~there(out)
            out = steps.replaced(out, lost, pool.take(pa.array(rng.integers(0, len(pool), len(out)))))
        for i, name in enumerate(self.needs):
            out = steps.replaced(out, which == i, frame[name])
        return {self.makes[0]: out}

    def meet(self, frame: Frame, wanted: Frame, given: Given, rng: np.random.Generator) -> Frame:
        asked = wanted[self.makes[0]]
        at = there(asked)
        choice, own = (entry["name"] for entry in self.free)
        return {
            choice: steps.replaced(frame[choice], at, pa.repeat(self.choices()[-1], len(at))),
            own: steps.replaced(frame[own], at, asked),
        }

    def choices(self) -> pa.Array:
        """The last: of none."""
        return pa.array([*self.needs, steps.unused("none", set(self.needs))], pa.string())

    def formula(self) -> str:
        return f"{self.makes[0]} is often the same as {' or '.join(self.needs)}"

    def why(self) -> str:
        return f"So it is in {steps.percent(self.holds)} of the training rows."

    def own_json(self) -> dict[str, Any]:
        return {"nullable": self.nullable}

    @classmethod
    def own_from_json(cls, saved: Mapping[str, Any], common: dict[str, Any]) -> Copy:
        return cls(nullable=saved["nullable"], **common)
