"""Markdown for cards: words of strangers stay words, and the front matter is YAML as model hubs read it."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#~$])")
LONGEST = 200  # characters of a word from outside
# SPDX identifiers whose tag on model hubs is another word than the same in small letters
TAGS = {"ODBL-1.0": "odbl", "PDDL-1.0": "pddl", "ODC-BY-1.0": "odc-by"}
TAGGED = {
    "apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-2.0", "cc-by-3.0", "cc-by-4.0",
    "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-4.0",
    "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cdla-permissive-1.0", "cdla-permissive-2.0",
    "cdla-sharing-1.0", "gfdl", "gpl-3.0", "lgpl-3.0", "unlicense", *TAGS.values(),
}  # fmt: skip
LICENSE_UNKNOWN = "Unknown: the licence of the training data applies, and nobody told Mintage what it is."


def plain(value: object, longest: int = LONGEST) -> str:
    """A value from outside on one line, with nothing in it that Markdown or HTML would read as more than text."""
    text = " ".join(str(value).split())
    text = "".join(letter for letter in text if letter.isprintable())
    return SPECIAL.sub(r"\\\1", text if len(text) <= longest else f"{text[: longest - 3]}...")


def cell(value: object) -> str:
    """A figure or a word in a table."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else plain(value)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [" | ".join(head), " | ".join("---" for _ in head)]
    return "\n".join(f"| {line} |" for line in [*lines, *(" | ".join(cell(value) for value in row) for row in rows)])


def bullets(sentences: Iterable[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)


def code(value: object) -> str:
    """JSON in a fence that it cannot close: a line of it never begins with one."""
    return f"```json\n{json.dumps(value, indent=1, sort_keys=True)}\n```"


def front_matter(values: Mapping[str, Any]) -> str:
    """YAML, each value written as JSON, which is YAML too."""
    lines = (f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in values.items() if value is not None)
    return "\n".join(["---", *lines, "---"])


def license_tags(license: str | None) -> dict[str, str]:
    """How model hubs want a licence told: by their own short word, or as another one with its name."""
    if license is None:
        return {"license": "unknown"}
    word = TAGS.get(license.upper(), license.lower())
    return {"license": word} if word in TAGGED else {"license": "other", "license_name": license}


def license_sentence(license: str | None) -> str:
    return LICENSE_UNKNOWN if license is None else f"{plain(license)}, as stated for the training data."


def page(front: Mapping[str, Any], title: str, sections: Mapping[str, Iterable[str | None]]) -> bytes:
    """The whole card; sections without text are left out."""
    blocks = [front_matter(front), f"# {title}"]
    for heading, parts in sections.items():
        if told := [part for part in parts if part]:
            blocks += [*([f"## {heading}"] if heading else []), *told]
    return ("\n\n".join(blocks) + "\n").encode()
