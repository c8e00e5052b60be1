"""Several generators that share the drawing: each row comes from one of them, taken by chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from workers.modalities.table.sampling import Ints, Plan
from workers.modalities.table.tilting import Tilted


class Ensemble:
    def __init__(self, members: Sequence[Tilted]) -> None:
        self.members = members

    def draw(self, n: int, rng: np.random.Generator, plan: Plan | None = None, asked: Ints | None = None) -> Ints:
        """n rows of codes (n, v); `plan` and `asked` as Tilted.draw has them."""
        plan = plan or Plan()
        if len(self.members) == 1:
            return self.members[0].draw(n, rng, plan, asked)
        who = rng.integers(len(self.members), size=n)
        drawn = []
        for number, member in enumerate(self.members):
            rows = np.flatnonzero(who == number)
            if n and not len(rows):  # few rows are asked for
                continue
            own = replace(plan, fixed=None if plan.fixed is None else plan.fixed[rows])
            drawn.append(member.draw(len(rows), rng, own, None if asked is None else asked[rows]))
        place = np.empty(n, np.int64)
        place[np.argsort(who, kind="stable")] = np.arange(n)
        out: Ints = np.concatenate(drawn)[place]
        return out
