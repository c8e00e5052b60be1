"""Which frames of a film count, and how large they get."""

import io

import numpy as np
from PIL import Image

from service.domain.film import frame_key, latest
from workers.work.film import SIDE, fitted


def test_frames_come_in_order_of_steps_and_of_two_of_a_step_the_later_attempts_counts() -> None:
    made = [(1000, 2), (90, 9), (90, 10), (90, 1), (400, 1)]
    keys = [frame_key("jobs/a/film/", step, attempt) for step, attempt in made]
    found = latest([*keys, "jobs/a/film/notes.txt", "jobs/a/film/x-a1.png"])
    assert list(found.items()) == [(90, keys[2]), (400, keys[4]), (1000, keys[0])]
    assert latest([]) == {}


def test_a_frame_of_large_pictures_is_made_smaller_and_a_small_one_stays_as_it_is() -> None:
    def png(high: int, wide: int) -> bytes:
        out = io.BytesIO()
        Image.fromarray(np.zeros((high, wide, 3), np.uint8)).save(out, "PNG")
        return out.getvalue()

    assert fitted(png(SIDE, 20)) == png(SIDE, 20)
    small = Image.open(io.BytesIO(fitted(png(2 * SIDE, SIDE))))
    assert (small.format, small.size) == ("PNG", (SIDE // 2, SIDE))
