"""Text that may be numbers, dates or times: what one pass over it finds out. Memory does not grow with rows."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from workers.modalities.table import clock, temporal

STRANGE = 50  # different words among numbers, beyond which the column is no number
HEAD = 1_000  # first values, by which the formats to try are chosen
GROUPED = r"^[+-]?(\d{1,3}(,\d{3})+|\d+)(\.\d+)?$"  # 1,580 or 1,580.25, and 727 among such
NUMBERLIKE = r"^[+-]?[\d.,]*\d[\d.,]*([eE][+-]?\d+)?$"
CODE = r"^[+-]?0\d|^\+|[xX_]"  # 007 is a code, not seven


@dataclass
class Extremes:
    minimum: float | int | None = None
    maximum: float | int | None = None

    def add(self, numbers: pa.Array) -> None:
        ends = pc.min_max(numbers).as_py()
        self.minimum = ends["min"] if self.minimum is None else min(self.minimum, ends["min"])
        self.maximum = ends["max"] if self.maximum is None else max(self.maximum, ends["max"])


@dataclass
class Numbers:
    """Whether a column of text holds numbers, and how they are written. A few words among them are set aside."""

    grouping: bool = False  # whether commas between groups of three digits are to be expected
    possible: bool = True
    integer: bool = True
    comma: bool = False  # the decimals follow a comma
    grouped: bool = False
    beyond: bool = False  # whole numbers of more than 64 bits
    decimals: set[int] = field(default_factory=set)
    ends: Extremes = field(default_factory=Extremes)
    strange: dict[str, int] = field(default_factory=dict)  # what is no number, and in how many rows

    @property
    def some(self) -> bool:
        return self.possible and self.ends.minimum is not None

    @property
    def strange_rows(self) -> int:
        return sum(self.strange.values())

    def add(self, text: pa.Array, counts: pa.Array) -> None:
        """Different trimmed values, and how many rows have each."""
        if not self.possible or not len(text):
            return
        if pc.any(pc.match_substring_regex(text, CODE)).as_py():
            text, counts = self._without(text, counts, pc.match_substring_regex(text, NUMBERLIKE))
            if len(text) and pc.any(pc.match_substring_regex(text, CODE)).as_py():
                self.possible = False
        numbers = cast(text, pa.float64()) if self.possible else None
        if numbers is None and self.possible:
            text, counts = self._without(text, counts, pc.match_substring_regex(text, NUMBERLIKE))
            text, numbers = self._with_commas(text)
        if numbers is None:
            self.possible = False
        elif len(numbers) and self.possible:
            self._keep(text, counts, numbers)

    def _keep(self, text: pa.Array, counts: pa.Array, numbers: pa.Array) -> None:
        finite = pc.is_finite(numbers)
        if not pc.all(finite).as_py():
            text, _ = self._without(text, counts, finite)
            numbers = numbers.filter(finite)
            if not len(text) or not self.possible:
                return
        whole = cast(text, pa.int64()) if self.integer else None
        if whole is None and self.integer and pc.any(pc.match_substring_regex(text, r"^[+-]?\d{19,}$")).as_py():
            self.beyond, self.possible = True, False
            return
        self.integer = self.integer and whole is not None
        self.ends.add(numbers if whole is None else whole)
        point = pc.find_substring(text, ".")
        exponent = pc.any(pc.match_substring_regex(text, "[eE]")).as_py()
        digits = pc.if_else(pc.less(point, 0), 0, pc.subtract(pc.subtract(pc.utf8_length(text), point), 1))
        self.decimals.update([99] if exponent else pc.unique(digits).to_pylist())

    def _with_commas(self, text: pa.Array) -> tuple[pa.Array, pa.Array | None]:
        numbers = cast(text, pa.float64())
        if numbers is not None:
            return text, numbers
        if self.grouping and not self.comma and pc.all(pc.match_substring_regex(text, GROUPED)).as_py():
            self.grouped = True
        else:
            self.comma = True
        text = plain_number(text, self.comma, self.grouped)
        return text, None if self.comma and self.grouped else cast(text, pa.float64())

    def _without(self, text: pa.Array, counts: pa.Array, sound: pa.Array) -> tuple[pa.Array, pa.Array]:
        """The sound values; the others are remembered as strange, unless they are too many."""
        odd = pc.invert(sound)
        words = text.filter(odd)
        if len(words) + len(self.strange) > 2 * STRANGE:
            self.possible = False
        else:
            for word, count in zip(words.to_pylist(), counts.filter(odd).to_pylist(), strict=True):
                self.strange[word] = self.strange.get(word, 0) + count
            self.possible = self.possible and len(self.strange) <= STRANGE
        return text.filter(sound), counts.filter(sound)


@dataclass
class Times:
    """Whether a column of text holds dates, times of day or durations, and the formats that all of it reads in."""

    formats: list[str] | None = None  # of dates; None before the first value
    offsets: Counter[str] = field(default_factory=Counter)  # from universal time, where they differ
    fraction: int = 0
    pad: bool = True
    form: str | None = None  # of times of day and durations
    style: dict[str, object] = field(default_factory=dict)
    ends: Extremes = field(default_factory=Extremes)  # in microseconds

    @property
    def over(self) -> bool:
        return self.formats == [] and self.form is None

    def add(self, text: pa.Array, rows: int) -> None:
        """Different trimmed values; `rows` is how many came before these."""
        if self.formats is None:
            self._begin(text[:HEAD])
        if self.formats:
            self._add_dates(text, rows)
        elif self.form:
            self._add_clock(text)

    def _begin(self, head: pa.Array) -> None:
        shapely = pc.all(pc.match_substring_regex(head, r"\d.*[-/.: ].*\d")).as_py()
        likely = temporal.candidates(head[0].as_py()) if shapely else ()
        self.formats = [pattern for pattern in likely if temporal.fits(head, pattern)]
        if shapely and not self.formats:
            self.formats = [pattern for pattern in temporal.zoned(head[0].as_py()) if temporal.fits(head, pattern)]
        if not self.formats:
            self.form = clock.form_of(head)

    def _add_dates(self, text: pa.Array, rows: int) -> None:
        before = self.formats or []
        self.formats = [pattern for pattern in before if temporal.fits(text, pattern)]
        if not self.formats:
            self.formats = [p for p in map(temporal.with_zones, before) if p and temporal.fits(text, p)]
            if self.formats:
                self.offsets[temporal.offset_of(before[0])] += rows
        if not self.formats:
            return
        if temporal.has_zones(self.formats[0]):
            self.offsets.update(temporal.offsets(text))
        self.fraction = max(self.fraction, temporal.fraction_digits(text))
        if not self.offsets:
            self.pad = self.pad and (bool(self.fraction) or temporal.padded(text, self.formats[0]))
        self.ends.add(pc.cast(temporal.parse(text, self.formats[0]), pa.int64()))

    def _add_clock(self, text: pa.Array) -> None:
        form = str(self.form)
        self.form = None
        if not clock.fits(text, form):
            return
        style = clock.together(self.style, clock.described(text, form))
        try:
            numbers = clock.parse(text, form)
        except pa.ArrowInvalid:  # more microseconds than 64 bits hold
            return
        if style is not None:
            self.form, self.style = form, style
            self.ends.add(numbers)


def cast(text: pa.Array, kind: pa.DataType) -> pa.Array | None:
    try:
        return pc.cast(text, kind)
    except pa.ArrowInvalid:
        return None


def plain_number(text: pa.Array, comma: bool, grouped: bool) -> pa.Array:
    """Numbers as computers write them."""
    return pc.replace_substring(text, ",", "" if grouped else ".") if comma or grouped else text


def numbers_in(text: pa.Array, kind: pa.DataType) -> pa.Array:
    """Plain numbers; null for what is none."""
    found = pc.match_substring_regex(text, r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$")
    numbers = pc.cast(pc.if_else(found, text, pa.scalar(None, pa.string())), kind)
    if not pa.types.is_floating(kind):
        return numbers
    return pc.if_else(pc.is_finite(numbers), numbers, pa.scalar(None, kind))
