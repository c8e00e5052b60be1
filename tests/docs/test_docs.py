"""The documents say what the code does."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TRACKED = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
PAGES = [ROOT / name for name in TRACKED if name.endswith(".md")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_make_target_that_the_readme_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"`make ([a-z-]+)`|^make ([a-z-]+)$", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert named
    assert {a or b for a, b in named} <= targets


def test_every_path_in_the_annotated_tree_exists() -> None:
    readme = (ROOT / "README.md").read_text()
    tree = readme.split("<!-- tree -->")[1].split("<!-- /tree -->")[0]
    paths = re.findall(r"^(?:  )?([\w./-]+)\s{2,}", tree, re.MULTILINE)
    assert len(paths) > 10
    missing = [path for path in paths if not (ROOT / path).exists()]
    assert not missing


def test_every_file_opens_with_a_sentence() -> None:
    for name in TRACKED:
        path = ROOT / name
        if name.endswith(".py") and path.exists() and path.read_text().strip():
            assert ast.get_docstring(ast.parse(path.read_text())), f"{name} does not say what it is"


def test_every_benchmark_result_names_its_command_and_commit() -> None:
    rows = (
        (ROOT / "benchmarks" / "RESULTS.md")
        .read_text()
        .split("|---|---|---|---|---|\n")[1]
        .split("\n\n")[0]
        .strip()
        .split("\n")
    )
    assert len(rows) >= 3
    for row in rows:
        date, commit, machine, command, result = (cell.strip() for cell in row.strip("|").split("|", 4))
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", date)
        assert re.fullmatch(r"[0-9a-f]{7,}", commit)
        assert machine
        assert command.startswith("`")
        assert result


def test_no_pickled_or_binary_weights_are_committed() -> None:
    assert not [name for name in TRACKED if name.endswith((".pkl", ".pt", ".pth", ".bin", ".joblib"))]
