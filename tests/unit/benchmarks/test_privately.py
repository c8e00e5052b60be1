"""The benchmark of differential privacy: what it asks of a training, what it makes of its lines."""

from typing import Any

from benchmarks.tables.models.own import config
from benchmarks.tables.privately import model, tables


def test_a_models_name_says_preset_steps_and_epsilon() -> None:
    assert config("mintage:draft", 3) == {"preset": "draft", "seed": 3}
    assert config("mintage:draft:50", 3)["steps"] == 50
    assert config(model("8"), 0) == {"preset": "standard", "seed": 0, "privacy": {"epsilon": 8.0}}
    assert "privacy" not in config(model("none"), 0)


def test_quality_is_told_by_epsilon_and_attacks_over_their_draws() -> None:
    judge = {"c2st_auc": 0.7, "shape": 0.98, "trend": 0.96, "tstr": 0.9, "trtr": 0.93, "dcr_share": 0.5}
    told: list[dict[str, Any]] = [
        {"model": model("3"), "judge": judge, "cpu_seconds": {"train": 40.0},
         "notes": {"privacy": {"epsilon_spent": 2.99, "epsilon_of_statistics": 2.0}}},
        *({"model": "members", "attacked": [{"epsilon": "3", "rows": 500, "spent": 2.99, "auc": {"likelihood": auc}}]}
          for auc in (0.4, 0.6)),
    ]  # fmt: skip
    text = tables(told, ["3", "none"])
    assert "| 3 | 2.99, 2.00 | .700 | .980 | .960 | .900 / .930 | .500 | 40 |" in text
    assert "| 3 | 500 | .500 (.400 to .600) |" in text
