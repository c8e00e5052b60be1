"""Digits of the label that is asked for. Start `mintage up`, then run `python examples/images.py`."""

from pathlib import Path

from mintage import Mintage

with Mintage() as mintage:
    dataset = mintage.datasets.upload(Path(__file__).parent / "data" / "mnist_5k.zip")
    training = mintage.train(dataset, preset="draft", seed=1).wait(progress=True)
    jobs = [mintage.generate(training, 50, seed=1, conditions={"label": digit}) for digit in ("3", "7")]
    for job in jobs:
        print(job.wait().download(f"digits-{job.id}"))
