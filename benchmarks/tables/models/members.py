"""Who was trained on? Attacks on models of few rows: one that is made to learn them by heart, ours, and private ones.

The attacker holds the model, and asks which of a thousand rows it was trained on. AUC: .5 is a guess, 1 is certainty.
`likelihood` believes in rows that the model finds likely; `against a reference` in those that it finds likelier than a
model of other rows does; `nearest` in those that lie near one of 20,000 generated rows."""

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from benchmarks.tables.models.own import PARTS, ingest
from workers.modalities import Dataset, Part
from workers.modalities.table import presets
from workers.modalities.table.modality import MODALITY
from workers.modalities.table.sampling import FastGenerator
from workers.modalities.table.spec import TableConfig
from workers.modalities.table.training import TableTraining

MEMBERS, REFERENCE_ROWS, GENERATED = 500, 20_000, 20_000
BY_HEART = {"preset": "standard", "steps": 3_000, "width": 128}


@dataclass
class Model:
    network: Any
    codec: Any
    spent: float | None

    def codes(self, table: pa.Table) -> Tensor:
        return torch.from_numpy(self.codec.encode(table, np.random.default_rng(0)))

    @torch.no_grad()
    def likelihood(self, table: pa.Table) -> np.ndarray:
        """Of each row, the logarithm."""
        found: np.ndarray = -self.network.likelihood(self.codes(table)).sum(1).numpy()
        return found

    def nearness(self, table: pa.Table) -> np.ndarray:
        """Codes that each row shares with the nearest generated one."""
        made = FastGenerator(self.network, self.network.rules, "cpu").draw(GENERATED, np.random.default_rng(1))
        apart = torch.cdist(self.codes(table).float(), torch.from_numpy(made).float(), p=0)
        found: np.ndarray = -apart.amin(1).numpy()
        return found


def dataset(root: Path, table: pa.Table) -> Dataset:
    root.mkdir()
    pq.write_table(table, root / "upload.parquet")
    ingest(root, "upload.parquet")
    told = json.loads((root / "dataset.json").read_text())
    assert all(part["key"].startswith(PARTS) for part in told["parts"])
    parts = [Part(root / part["key"], part["rows"], part["split"]) for part in told["parts"]]
    return Dataset(told["schema"], told["rows"], parts)


def given(data: Dataset) -> pa.Table:
    """The rows that a training is given."""
    return pa.concat_tables(pq.read_table(part.path) for part in data.parts if part.split == "train")


def trained(data: Dataset, config: dict[str, Any], by_heart: bool = False) -> Model:
    share = presets.VALIDATION
    presets.VALIDATION = 0.0 if by_heart else share  # no row set aside, so that nothing tells when to stop
    training = MODALITY.training(data, TableConfig.model_validate(config), "cpu")
    presets.VALIDATION = share
    assert isinstance(training, TableTraining)
    if by_heart:  # and nothing left out at random
        training.trainer.judge = None
        training.trainer.generator.shape = replace(training.shape, dropout=0.0)  # type: ignore[assignment]
    for _ in training.trainer.run():
        pass
    spent = training.spent()["epsilon_spent"] if config.get("privacy") else None  # type: ignore[attr-defined]
    return Model(training.trainer.ema, training.codec, spent)


def attacked(model: Model, reference: Model, members: pa.Table, others: pa.Table) -> dict[str, float]:
    both = pa.concat_tables([members, others])
    inside = np.arange(len(both)) < len(members)
    likely = model.likelihood(both)
    told = {
        "likelihood": likely,
        "against a reference": likely - reference.likelihood(both),
        "nearest": model.nearness(both),
    }
    return {name: round(float(roc_auc_score(inside, score)), 4) for name, score in told.items()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True, help="has train.parquet and holdout.parquet")
    parser.add_argument("--epsilons", required=True)
    parser.add_argument("--seed", type=int, required=True)
    args = parser.parse_args()
    table = pq.read_table(args.folder / "train.parquet")
    order = np.random.default_rng([args.seed, 17]).permutation(len(table))
    few = dataset(args.folder / "few", table.take(order[: MEMBERS * 10 // 9 + 1]))
    many = dataset(args.folder / "many", table.take(order[-REFERENCE_ROWS:]))
    reference = trained(many, {"preset": "draft", "seed": args.seed})
    members = given(few)
    others = pq.read_table(args.folder / "holdout.parquet").slice(0, len(members))
    others = others.select(members.column_names).cast(members.schema)
    lines = []
    configs: list[tuple[str, dict[str, Any], bool]] = [("by heart", BY_HEART, True), ("none", {}, False)]
    configs += [(epsilon, {"privacy": {"epsilon": float(epsilon)}}, False) for epsilon in args.epsilons.split(",")]
    for name, config, by_heart in configs:
        model = trained(few, {"preset": "standard", "seed": args.seed} | config, by_heart)
        found = attacked(model, reference, members, others)
        lines.append({"epsilon": name, "rows": len(members), "spent": model.spent, "auc": found})
    (args.folder / "cost.json").write_text(json.dumps(lines))


if __name__ == "__main__":
    main()
