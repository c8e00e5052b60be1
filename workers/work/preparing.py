"""A training before its first step: how long it has taken and may take, and what is said of it meanwhile."""

import time
from dataclasses import dataclass, field

from service.errors import Rejected
from workers.work.line import Line

GUESSED = 1.0  # seconds for which a guess is believed before the clock is


@dataclass
class Clock:
    """Seconds of a job's work, by this attempt and those before it, and how many it may take."""

    limit: int | None
    spent: float = 0.0  # by earlier attempts
    start: float = field(default_factory=time.monotonic)

    def seconds(self) -> float:
        return self.spent + time.monotonic() - self.start

    @property
    def over(self) -> bool:
        return self.limit is not None and self.seconds() >= self.limit

    def within(self, eta: float | None) -> float | None:
        """Seconds to go, which the limit may cut short."""
        if self.limit is None:
            return eta
        left = max(0.0, self.limit - self.seconds())
        return left if eta is None else min(eta, left)


class Preparation:
    """What a modality calls while it prepares a run."""

    def __init__(self, line: Line, clock: Clock, *, resumed: bool) -> None:
        self.line, self.clock, self.resumed = line, clock, resumed
        self.fraction = 0.0
        self.eta: float | None = None
        self._start = time.monotonic()

    def __call__(self, stage: str, done: float, total: float) -> None:
        """Raises Stop; Rejected when the time is up and there is nothing to make a model of."""
        self.line.check()
        if self.clock.over and not self.resumed:
            raise Rejected(
                "time_limit_too_short",
                f"The time limit of {self.clock.limit} s was reached while {stage}, before the first training step; "
                "there is no model. Allow more time, or train on fewer rows or columns.",
            )
        pace = (time.monotonic() - self._start + GUESSED) / (min(done, total) + GUESSED)
        self.fraction = max(self.fraction, min(1.0, done / total) if total else 0.0)
        self.eta = max(0.0, total - done) * pace
        self.line.far(self.fraction, stage=stage, eta_seconds=self.clock.within(self.eta))
