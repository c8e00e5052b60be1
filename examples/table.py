"""A table from upload to synthetic rows. Start `mintage up`, then run `python examples/table.py`."""

from pathlib import Path

from mintage import Mintage

with Mintage() as mintage:
    dataset = mintage.datasets.upload(Path(__file__).parent / "data" / "adult.parquet")
    print(f"{dataset.id}: {dataset.rows:,} rows")

    training = mintage.train(dataset, preset="draft", seed=1).wait(progress=True)
    report = mintage.models.report(training.model_id or "")
    print(report["verdict"])

    # people with an income over 50 K alone; the same seed would give the same rows again
    job = mintage.generate(training, 1_000, seed=1, format="csv", conditions={"income": ">50K"}).wait()
    for path in job.download("synthetic"):
        print(path)
