"""Pieces of work done side by side, and handed on in their order. Knows nothing of what they are."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from contextlib import contextmanager
from typing import TypeVar

import torch

WAIT = 0.3  # seconds between two looks up
Piece = TypeVar("Piece")


def in_order(makers: Iterator[Callable[[], Piece]], look_up: Callable[[], None]) -> Generator[Piece, None, None]:
    """What the makers make: as many at a time as torch has threads, each on one of its own. Small sums are not worth
    sharing out, and so they come out the same whatever the number of threads. One more piece at most is waiting than
    there are threads. `look_up` is called often, and may raise."""
    with _threads_apart() as threads, ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[Piece]] = deque()
        try:
            for maker in makers:
                waiting.append(pool.submit(maker))
                if len(waiting) > threads:
                    yield _result(waiting.popleft(), look_up)
            while waiting:
                yield _result(waiting.popleft(), look_up)
        finally:
            for future in waiting:
                future.cancel()


def _result(future: Future[Piece], look_up: Callable[[], None]) -> Piece:
    while True:
        look_up()
        try:
            return future.result(WAIT)
        except NotYet:
            continue


@contextmanager
def _threads_apart() -> Iterator[int]:
    """Gives each new thread of Python's one thread of torch's, and says how many there may be."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield before
    finally:
        torch.set_num_threads(before)
