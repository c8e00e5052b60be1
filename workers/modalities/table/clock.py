"""Times of day and durations: finding the form they are written in, reading them, writing them back.

Both are kept as whole microseconds: since midnight, or of the duration."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

DAY = 86_400 * 10**6
SECOND = 10**6
FRACTION = r"(?:[.](?P<f>\d{1,6}))?"
CLOCK = rf"^(?P<sign>-?)(?P<h>\d{{1,4}}):(?P<m>[0-5]\d)(?::(?P<s>[0-5]\d){FRACTION})?$"
TWELVE = rf"^(?P<h>0?[1-9]|1[0-2]):(?P<m>[0-5]\d)(?::(?P<s>[0-5]\d){FRACTION})?(?P<gap> ?)(?P<half>[AaPp][Mm])$"
ISO = rf"^(?P<sign>-?)P(?:(?P<d>\d+)D)?(?:T(?:(?P<h>\d+)H)?(?:(?P<m>\d+)M)?(?:(?P<s>\d+){FRACTION}S)?)?$"
DAYS = rf"^(?P<sign>-?)(?P<d>\d+) days?,? (?P<h>\d\d?):(?P<m>[0-5]\d):(?P<s>[0-5]\d){FRACTION}$"
COUNTED = r"^(?P<sign>-?)(?P<n>\d+)(?:[.](?P<f>\d{1,6}))?(?P<unit> ?[A-Za-zµ]+)$"
UNITS = {
    **dict.fromkeys(("ms", "msec", "millisecond", "milliseconds"), 1_000),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), SECOND),
    **dict.fromkeys(("min", "mins", "minute", "minutes"), 60 * SECOND),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3_600 * SECOND),
    **dict.fromkeys(("d", "day", "days"), DAY),
    **dict.fromkeys(("week", "weeks"), 7 * DAY),
}
LASTS = re.compile(
    r"(duration|elapsed|length|runtime|run_time|took|lasted|pace|lap|split|uptime|worked|hours|delay|wait)"
)
PATTERNS = {"clock": CLOCK, "twelve": TWELVE, "iso": ISO, "days": DAYS, "counted": COUNTED}


def form_of(head: pa.Array) -> str | None:
    """The form that all of the first values have; None for none."""
    return next((form for form in PATTERNS if fits(head, form)), None) if len(head) else None


def fits(text: pa.Array, form: str) -> bool:
    """Whether every value, none of them null, is written so."""
    if not pc.all(pc.match_substring_regex(text, PATTERNS[form])).as_py():
        return False
    if form == "counted":
        units = pc.unique(_part(text, form, "unit")).to_pylist()
        return len(units) == 1 and units[0].strip().lower() in UNITS
    if form == "iso":
        return bool(pc.all(pc.match_substring_regex(text, r"\d[DHMS]$")).as_py())
    return True


def parse(text: pa.Array, form: str) -> pa.Array:
    """Whole microseconds. Raises ArrowInvalid where they are too many for 64 bits."""
    found = pc.extract_regex(text, PATTERNS[form])
    names = [item.name for item in found.type]
    total = _fraction(found) if form != "counted" else None
    for name, size in (("d", DAY), ("h", 3_600 * SECOND), ("m", 60 * SECOND), ("s", SECOND)):
        if name in names and total is not None:
            total = pc.add_checked(total, pc.multiply_checked(_whole(found, name, form), size))
    if total is None:
        size = UNITS[pc.struct_field(found, "unit")[0].as_py().strip().lower()]
        part = pc.divide(pc.multiply_checked(_fraction(found), size), SECOND)
        total = pc.add_checked(pc.multiply_checked(_whole(found, "n", form), size), part)
    if form == "twelve":
        late = pc.match_substring_regex(pc.struct_field(found, "half"), "^[Pp]")
        return pc.add(total, pc.if_else(late, DAY // 2, 0))
    return pc.if_else(pc.equal(pc.struct_field(found, "sign"), "-"), pc.negate(total), total)


def _part(text: pa.Array, form: str, name: str) -> pa.Array:
    return pc.struct_field(pc.extract_regex(text, PATTERNS[form]), name)


def _whole(found: pa.Array, name: str, form: str) -> pa.Array:
    numbers = _number(pc.struct_field(found, name))
    if form != "twelve" or name != "h":
        return numbers
    return pc.if_else(pc.equal(numbers, 12), 0, numbers)  # 12:15 AM is a quarter past midnight


def _number(digits: pa.Array) -> pa.Array:
    empty = pc.or_kleene(pc.is_null(digits), pc.equal(digits, ""))
    return pc.cast(pc.if_else(empty, "0", digits), pa.int64())


def _fraction(found: pa.Array) -> pa.Array:
    return _number(pc.utf8_rpad(pc.fill_null(pc.struct_field(found, "f"), ""), 6, "0"))


def described(text: pa.Array, form: str) -> dict[str, object]:
    """How values of this form are written: what `write` needs, of all values together."""
    found = pc.extract_regex(text, PATTERNS[form])
    digits = pc.max(pc.utf8_length(pc.struct_field(found, "f"))).as_py() or 0
    out: dict[str, object] = {"fraction": int(digits), "padded": True}
    if form == "counted":
        return out | {"unit": pc.struct_field(found, "unit")[0].as_py()}
    if form in ("clock", "twelve"):
        out["padded"] = bool(pc.min(pc.utf8_length(pc.struct_field(found, "h"))).as_py() >= 2)
        out["seconds"] = pc.any(pc.not_equal(pc.fill_null(pc.struct_field(found, "s"), ""), "")).as_py()
    if form == "twelve":
        sample = pc.struct_field(found, "gap")[0].as_py() + pc.struct_field(found, "half")[0].as_py()
        out["half"] = sample.replace("P", "A").replace("p", "a")
    return out


def together(one: dict[str, object], other: dict[str, object]) -> dict[str, object] | None:
    """How values of both kinds are written; None where nothing describes both."""
    if not one:
        return other
    if any(one.get(name) != other.get(name) for name in ("unit", "seconds")):
        return None
    fraction = max(int(str(one["fraction"])), int(str(other["fraction"])))
    return one | {"fraction": fraction, "padded": bool(one["padded"] and other["padded"])}


def lasts(name: str) -> bool:
    """Whether a column's name speaks of durations."""
    return LASTS.search(name.lower()) is not None


# -- and back -----------------------------------------------------------------------------------------------------


def write(values: pa.Array, form: str, style: dict[str, object]) -> pa.Array:
    """Whole microseconds as text; nulls stay null."""
    micros = np.asarray(values.fill_null(0).to_numpy(zero_copy_only=False), np.int64)
    style = {"seconds": True, "padded": True} | style
    digits = int(str(style.get("fraction", 0)))
    if form == "counted":
        return _masked(_counted(micros, str(style["unit"]), digits), values)
    sign = pa.array(np.where(micros < 0, "-", "").tolist(), pa.string()) if (micros < 0).any() else pa.scalar("")
    size = np.abs(micros)
    size = size // 10 ** (6 - digits) * 10 ** (6 - digits)
    hours, rest = size // (3_600 * SECOND), size % (3_600 * SECOND)
    minutes, seconds = rest // (60 * SECOND), rest % (60 * SECOND) // SECOND
    after = _after(size % SECOND, digits)
    if form == "iso":
        return _masked(pc.binary_join_element_wise(sign, _iso(size, digits), ""), values)
    days = pa.scalar("")
    if form == "days":
        days, hours = pc.binary_join_element_wise(_text(hours // 24), " days ", ""), hours % 24
    half: pa.Array | pa.Scalar = pa.scalar("")
    if form == "twelve":
        spelled = str(style.get("half", " AM"))
        evening = spelled.replace("A", "P").replace("a", "p")
        half = pa.array([spelled, evening]).take(pa.array((hours % 24 >= 12).astype(np.int64)))
        hours = (hours - 1) % 12 + 1
    parts = [sign, days, _text(hours, 2 if style["padded"] else 1), ":", _text(minutes, 2)]
    parts += [":", _text(seconds, 2), after] if style["seconds"] else []
    return _masked(pc.binary_join_element_wise(*parts, half, ""), values)


def _text(numbers: np.ndarray, width: int = 1) -> pa.Array:
    return pc.utf8_lpad(pa.array(numbers).cast(pa.string()), width, "0")


def _after(micros: np.ndarray, digits: int) -> pa.Array | pa.Scalar:
    if not digits:
        return pa.scalar("")
    return pc.binary_join_element_wise(".", _text(micros // 10 ** (6 - digits), digits), "")


def _iso(size: np.ndarray, digits: int) -> pa.Array:
    """PT1H30M: what is zero is left out, but for a duration of nothing."""
    shown, any_time = [pa.scalar("P")], size % DAY > 0
    for unit, number in (("D", size // DAY), ("T", any_time), ("H", size % DAY // (3_600 * SECOND)),
                         ("M", size % (3_600 * SECOND) // (60 * SECOND))):  # fmt: skip
        text = pa.scalar("T") if unit == "T" else pc.binary_join_element_wise(_text(number), unit, "")
        shown.append(pc.if_else(pa.array(number > 0), text, ""))
    seconds = size % (60 * SECOND)
    fraction = pc.if_else(pa.array(seconds % SECOND > 0), _after(seconds % SECOND, max(digits, 1)), "")
    text = pc.binary_join_element_wise(_text(seconds // SECOND), fraction, "S", "")
    shown.append(pc.if_else(pa.array(seconds > 0), text, pc.if_else(pa.array(size == 0), "T0S", "")))
    return pc.binary_join_element_wise(*shown, "")


def _counted(micros: np.ndarray, unit: str, digits: int) -> pa.Array:
    size = UNITS[unit.strip().lower()]
    if not digits:
        return pc.binary_join_element_wise(_text(np.rint(micros / size).astype(np.int64)), unit, "")
    text = pa.array(np.round(micros / size, digits)).cast(pa.decimal128(38, digits), safe=False).cast(pa.string())
    return pc.binary_join_element_wise(text, unit, "")


def _masked(text: pa.Array, like: pa.Array) -> pa.Array:
    return pc.if_else(pc.is_valid(like), text, pa.scalar(None, pa.string())) if like.null_count else text
