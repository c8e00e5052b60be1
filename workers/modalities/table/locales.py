"""Where people seem to be from: what e-mail addresses, telephones, IBANs, names and scripts say of a table's locale.

A guess from what is cheap to see; the upload's option `locale` goes before it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from importlib import import_module
from typing import Any

DEFAULT = "en_US"
OF_COUNTRY = {
    "AT": "de_AT", "AU": "en_AU", "BE": "nl_BE", "BG": "bg_BG", "BR": "pt_BR", "CA": "en_CA", "CH": "de_CH",
    "CL": "es_CL", "CN": "zh_CN", "CO": "es_CO", "CZ": "cs_CZ", "DE": "de_DE", "DK": "da_DK", "EE": "et_EE",
    "ES": "es_ES", "FI": "fi_FI", "FR": "fr_FR", "GB": "en_GB", "GR": "el_GR", "HR": "hr_HR", "HU": "hu_HU",
    "IE": "en_IE", "IL": "he_IL", "IN": "en_IN", "IT": "it_IT", "JP": "ja_JP", "KR": "ko_KR", "LT": "lt_LT",
    "LV": "lv_LV", "MX": "es_MX", "NL": "nl_NL", "NO": "no_NO", "NZ": "en_NZ", "PL": "pl_PL", "PT": "pt_PT",
    "RO": "ro_RO", "RU": "ru_RU", "SE": "sv_SE", "SI": "sl_SI", "SK": "sk_SK", "TH": "th_TH", "TR": "tr_TR",
    "TW": "zh_TW", "UA": "uk_UA", "UK": "en_GB", "US": "en_US",
}  # fmt: skip
CALLING = {
    "1": "en_US", "7": "ru_RU", "30": "el_GR", "31": "nl_NL", "32": "nl_BE", "33": "fr_FR", "34": "es_ES",
    "36": "hu_HU", "39": "it_IT", "40": "ro_RO", "41": "de_CH", "43": "de_AT", "44": "en_GB", "45": "da_DK",
    "46": "sv_SE", "47": "no_NO", "48": "pl_PL", "49": "de_DE", "52": "es_MX", "54": "es_AR", "55": "pt_BR",
    "56": "es_CL", "57": "es_CO", "61": "en_AU", "64": "en_NZ", "66": "th_TH", "81": "ja_JP", "82": "ko_KR",
    "86": "zh_CN", "90": "tr_TR", "91": "en_IN", "351": "pt_PT", "353": "en_IE", "358": "fi_FI", "359": "bg_BG",
    "370": "lt_LT", "371": "lv_LV", "372": "et_EE", "380": "uk_UA", "385": "hr_HR", "386": "sl_SI", "420": "cs_CZ",
    "421": "sk_SK", "886": "zh_TW", "972": "he_IL",
}  # fmt: skip
SCRIPTS = (
    ("ja_JP", r"[\u3040-\u30ff]"), ("ko_KR", r"[\uac00-\ud7af]"), ("zh_CN", r"[\u4e00-\u9fff]"),
    ("el_GR", r"[\u0370-\u03ff]"), ("uk_UA", r"[іїєґІЇЄҐ]"), ("ru_RU", r"[\u0400-\u04ff]"),
    ("he_IL", r"[\u0590-\u05ff]"), ("th_TH", r"[\u0e00-\u0e7f]"),
)  # fmt: skip
STREETS = (
    ("de_DE", r"(straße|strasse|str\.|gasse|allee|platz)\b"), ("fr_FR", r"\b(rue|avenue de|chemin)\b"),
    ("it_IT", r"\b(via|viale|piazza)\b"), ("es_ES", r"\b(calle|avenida|paseo|plaza)\b"),
    ("pt_BR", r"\b(rua|travessa)\b"), ("nl_NL", r"(straat|laan|gracht)\b"), ("pl_PL", r"\b(ul\.|aleja|plac)"),
    ("en_US", r"\b(street|st\.?|avenue|ave\.?|road|drive|blvd|lane)\b"),
)  # fmt: skip
FIRST_NAMES = (
    "en_US", "en_GB", "en_IN", "de_DE", "fr_FR", "es_ES", "it_IT", "pt_BR", "nl_NL", "pl_PL", "sv_SE", "da_DK",
    "no_NO", "fi_FI", "cs_CZ", "sk_SK", "hu_HU", "ro_RO", "hr_HR", "tr_TR", "el_GR", "ru_RU", "uk_UA", "bg_BG",
)  # fmt: skip
Votes = Mapping[str, float]


def of_column(entity: str, values: Sequence[str]) -> Votes:
    """What a column's values say: shares of them that speak for a locale."""
    votes: Counter[str] = Counter()
    for value in values:
        votes.update(_of_value(entity, value))
    if entity in ("name", "first_name", "last_name"):
        votes.update(_of_names(values))
    return {locale: votes[locale] / max(1, len(values)) for locale in votes}


def agreed(votes: Iterable[Votes]) -> str:
    """The locale that most of the columns speak for; American English if hardly any speaks."""
    total = {DEFAULT: 0.0}
    for one in votes:
        for place, weight in one.items():
            total[place] = total.get(place, 0.0) + weight * (1.25 if place == DEFAULT else 1)  # usual in many countries
    best, weight = max(total.items(), key=lambda item: item[1])
    return best if weight >= 0.1 else DEFAULT


def _of_value(entity: str, value: str) -> list[str]:
    if entity == "email" or entity == "url":
        end = re.search(r"[.]([A-Za-z]{2})(?:[:/?#]|$)", value.split("//")[-1])
        return _known(OF_COUNTRY, end[1].upper()) if end else []
    if entity == "phone":
        digits = re.sub(r"\D", "", value)
        if value.strip().startswith(("+", "00")):
            digits = digits.removeprefix("00")
            return next((_known(CALLING, digits[:n]) for n in (3, 2, 1) if digits[:n] in CALLING), [])
        return ["en_US"] if re.match(r"^(\(\d{3}\)|\d{3}[ .-]\d{3}[ .-]\d{4}$)", value.strip()) else []
    if entity == "iban":
        return _known(OF_COUNTRY, value.strip()[:2].upper())
    if entity == "ssn":
        return ["en_US"]
    script = next(([locale] for locale, letters in SCRIPTS if re.search(letters, value)), [])
    if script or entity != "address":
        return script
    return next(([locale] for locale, words in STREETS if re.search(words, value.lower())), [])


def _known(table: Mapping[str, str], key: str) -> list[str]:
    return [table[key]] if key in table else []


def _of_names(values: Sequence[str]) -> Counter[str]:
    """A name that is usual in one country says more than one that is usual in many."""
    votes: Counter[str] = Counter()
    for value in values:
        for token in _tokens(value):
            homes = known_names().get(token, ())
            votes.update(dict.fromkeys(homes, 1 / max(1, len(homes))))
    return votes


def first_name(token: str) -> bool:
    """Whether people somewhere are called so."""
    return any(token.lower() in _names(locale)[0] for locale in FIRST_NAMES)


@lru_cache(1)
def known_names() -> dict[str, tuple[str, ...]]:
    """First and last names in lower case, and the locales in which they are usual."""
    homes: dict[str, list[str]] = {}
    for locale in FIRST_NAMES:
        for name in sorted(set.union(*_names(locale))):
            homes.setdefault(name, []).append(locale)
    return {name: tuple(found) for name, found in homes.items()}


@lru_cache(64)
def _names(locale: str) -> tuple[set[str], set[str]]:
    provider: Any = import_module(f"faker.providers.person.{locale}").Provider
    return tuple({token for name in getattr(provider, kind, ()) for token in _tokens(name)}
                 for kind in ("first_names", "last_names"))  # type: ignore[return-value]  # fmt: skip


def _tokens(text: str) -> list[str]:
    return [token.lower() for token in re.findall(r"[^\W\d_]{2,}", text)]
