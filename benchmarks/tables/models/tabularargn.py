"""TabularARGN of mostlyai-engine, at its defaults: it ends by its own early stopping."""

import numpy as np
import pandas as pd
import torch
from mostlyai.engine import TabularARGN

from benchmarks.tables.models.cost import Cost, arguments


def main() -> None:
    args, cost = arguments(), Cost()
    frame = pd.read_parquet(args.folder / "train.parquet")
    limit = {"max_training_time": args.cap / 60} if args.cap else {}  # minutes of wall time: let nothing else run
    model = TabularARGN(random_state=args.seed, device="cpu", **limit)
    with cost.phase("train"):
        model.fit(frame)
    with cost.phase("sample"):
        synthetic = model.sample(args.rows)
    synthetic.to_parquet(args.folder / "synthetic.parquet", index=False)
    progress = pd.read_csv(model._get_workspace_dir() / "ModelStore" / "model-data" / "progress-messages.csv")
    epochs = float(np.nanmax(progress["epoch"])) if "epoch" in progress else None
    cost.write(args.folder, ["mostlyai-engine", "torch"], epochs=epochs, threads_of_torch=torch.get_num_threads())


if __name__ == "__main__":
    main()
