"""What a model's report says, in the words and rows of a card. Knows reports of every modality, also older ones."""

from collections.abc import Iterator, Mapping
from typing import Any

from service.domain.markdown import bullets, plain, table

Report = Mapping[str, Any]

SENTENCE = 1_000  # characters of a sentence of the report
TABLE_FIGURES = {
    "shape": "how alike the columns are, one by one; 1 at best",
    "trend": "how alike the columns go together, pair by pair; 1 at best",
    "c2st_auc": "how well a classifier tells these rows from real ones; .5 is chance",
    "dcr_share": "share of the rows that lie nearer to training rows than to rows never seen; .5 is ideal",
}
NEVER_PROVEN = (
    "Distances to training records find copies and near copies. They do not prove that nothing can be learned about a"
    " person: rare combinations, groups of records and what an attacker knows from elsewhere are not covered by them."
)
PRIVATE_LIMIT = (
    "The bound is for one training row. It says less of a person who has several, and nothing of what was known of the"
    " data before: names, types and formats of the columns."
)


def verdicts(report: Report) -> str | None:
    """The report's own sentences."""
    return bullets(_sentences(report.get("verdict"))) or None


def _sentences(told: object) -> Iterator[str]:
    if isinstance(told, str):
        yield plain(told, SENTENCE)
    elif isinstance(told, Mapping):
        for question, answer in told.items():
            words = answer.values() if isinstance(answer, Mapping) else [answer]
            if said := ": ".join(plain(word, SENTENCE) for word in words if isinstance(word, str)):
                yield f"{plain(question)}: {said}"


def figures(report: Report) -> str | None:
    """A row for each figure, with what real data reach beside it."""
    rows = list(_rows(report))
    return table(("figure", "value", "real data", "what it is"), rows) if rows else None


def _rows(report: Report) -> Iterator[tuple[str, object, object, str]]:
    if isinstance(report.get("figures"), Mapping):
        ceiling, meaning = report.get("ceiling") or {}, report.get("meaning") or {}
        for name, value in report["figures"].items():
            if isinstance(value, int | float):
                yield name, value, ceiling.get(name), str(meaning.get(name, ""))
        return
    real = report.get("real_rows") or {}
    for name, what in TABLE_FIGURES.items():
        if isinstance(report.get(name), int | float):
            yield name, report[name], real.get(name), what


def privacy(report: Report) -> Iterator[str]:
    """What was measured or proven of privacy, and what that does not prove."""
    told = report.get("privacy")
    proven = isinstance(told, Mapping) and "epsilon" in told
    if isinstance(told, Mapping) and proven:
        spent = told.get("epsilon_spent", told["epsilon"])
        yield (
            f"Trained with differential privacy: epsilon {spent:.4g} of {told['epsilon']:.4g} spent, delta"
            f" {told.get('delta', 0.0):.3g}; noise {plain(told.get('noise', 'not told'))}."
        )
        yield from (
            f"{word}: {plain(told[name], SENTENCE)}."
            for word, name in (("It covers", "covers"), ("It does not cover", "does_not_cover"))
            if name in told
        )
        yield PRIVATE_LIMIT
    measured = [plain(report["memorisation"], SENTENCE)] if isinstance(report.get("memorisation"), str) else []
    if isinstance(report.get("dcr_share"), float):
        measured.append(
            f"{report['dcr_share']:.1%} of the generated rows lie nearer to training rows than to rows never seen"
            " (50% is ideal)."
        )
    yield from measured
    if not proven:
        yield NEVER_PROVEN if measured else f"No distance to training records was measured. {NEVER_PROVEN}"


def used(report: Report) -> str | None:
    """Which samples were used how."""
    told = report.get("rows") or report.get("pictures")
    if not isinstance(told, Mapping):
        return None
    rows = [(name.replace("_", " "), value) for name, value in told.items() if isinstance(value, int)]
    return table(("samples", "number"), rows) if rows else None


def warnings(report: Report) -> list[str]:
    return [plain(warning, SENTENCE) for warning in report.get("warnings") or () if isinstance(warning, str)]
