"""docs/operations.md says what the settings are. UPDATE_GOLDEN=1 writes its table anew."""

import os
import re
from pathlib import Path
from typing import Any, get_args

from pydantic import SecretStr

from service.settings import Settings
from tests.deploy.reading import OF_THE_ADMIN, ROOT, SETTINGS, variables

PAGE = ROOT / "docs" / "operations.md"
MARKS = ("<!-- settings -->\n", "<!-- /settings -->")
OF_THE_CLIENT = {"MINTAGE_URL", "MINTAGE_API_KEY"}


def shown(value: Any) -> str:
    """A default as it would be written into the environment."""
    if value is None:
        return ""
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def table() -> str:
    """The settings as Markdown: name, default, meaning."""
    lines = ["| variable | default | meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = "**must be set**" if field.is_required() else shown(field.default)
        secret = " (A secret.)" if field.annotation is SecretStr or SecretStr in get_args(field.annotation) else ""
        lines.append(f"| `MINTAGE_{name.upper()}` | {default} | {field.description}{secret} |")
    return "\n".join(lines) + "\n"


def test_the_page_lists_every_setting_with_its_default_golden() -> None:
    text = PAGE.read_text()
    before, rest = text.split(MARKS[0])
    written, after = rest.split(MARKS[1])
    if os.environ.get("UPDATE_GOLDEN"):
        PAGE.write_text(before + MARKS[0] + table() + MARKS[1] + after)
    else:
        assert written == table(), "run `make golden`"


def test_every_setting_says_what_it_is() -> None:
    assert all(field.description for field in Settings.model_fields.values())


def test_the_page_names_no_variable_that_does_not_exist() -> None:
    named = {name.removesuffix("_FILE") for name in variables(PAGE.read_text())}
    assert named > SETTINGS
    assert named <= SETTINGS | OF_THE_ADMIN | OF_THE_CLIENT


def test_every_file_that_the_page_names_exists_and_every_heading_that_it_points_to() -> None:
    text = PAGE.read_text()
    headings = {
        re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in re.findall(r"^#+ (.*)$", text, re.M)
    }
    for target, anchor in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", text):
        assert (PAGE.parent / Path(target)).exists() if target else anchor in headings
