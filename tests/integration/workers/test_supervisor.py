"""What a supervisor does beside its units."""

import threading

from sqlalchemy import ColumnElement

from service.bootstrap import Context
from workers.supervisor import Supervisor


class Stumbling(Supervisor):
    """Fails for an unforeseen reason when it first looks for previews."""

    looks = 0

    def _waiting(self, which: ColumnElement[bool]) -> list[str]:
        self.looks += 1
        if self.looks == 1:
            raise RuntimeError("unforeseen")
        looked_again.set()
        return super()._waiting(which)


looked_again = threading.Event()


def test_previews_are_looked_for_again_after_a_failure(sqlite_context: Context) -> None:
    stop = threading.Event()
    Stumbling(sqlite_context, 0, lambda: False).watch(stop, previews=True)  # no slot is ever free
    assert looked_again.wait(5.0)
    stop.set()
