"""Where the CPU seconds of a training go, from the file to the report:

    python -m benchmarks.tables.profile examples/data/adult.parquet --preset standard

Runs in one process with one thread; prints a table in Markdown."""

import argparse
import cProfile
import pstats
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.tables.models import own
from workers.engine.trainer import Trainer
from workers.engine.warmstart import WarmStart
from workers.modalities.table import codec, guides, metrics, training
from workers.modalities.table.sampler import TableSampler
from workers.modalities.table.structure import Structure
from workers.modalities.table.training import TableTraining
from workers.work import ingest

# What is told, and the function whose time, with all that it calls, it is.
PHASES = (
    ("file read, types found, parts written", ingest.ingest),
    ("parts read", training.read_rows),
    ("rules found", Structure.fit),
    ("codec fitted, rows encoded (with rules)", codec.fit),
    ("guides fitted", guides.fit),
    ("shares and tables to start from", training.start),
    ("warm start, steps", WarmStart.step),
    ("adversarial steps", Trainer._one_step),
    ("held-out rows judge", TableTraining._judge),
    ("live figures", TableTraining.evaluate),
    ("report: rows generated", TableSampler.table),
    ("report: figures", metrics.report),
)


def seconds(stats: pstats.Stats, function: object) -> tuple[int, float]:
    """Calls and cumulative CPU seconds."""
    code = getattr(function, "__code__", None) or function.__func__.__code__  # type: ignore[attr-defined]
    _, calls, _, total, _ = stats.stats.get((code.co_filename, code.co_firstlineno, code.co_name), (0, 0, 0, 0.0, {}))  # type: ignore[attr-defined]
    return calls, total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--preset", default="standard")
    args = parser.parse_args()
    torch.set_num_threads(1)
    profile = cProfile.Profile(time.process_time)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "upload.parquet").write_bytes(args.file.read_bytes())
        begin = time.process_time()
        profile.enable()
        own.ingest(root, "upload.parquet")
        own.train(root, {"preset": args.preset, "seed": 0}, "cpu")
        profile.disable()
        whole = time.process_time() - begin
    stats = pstats.Stats(profile)
    print(f"| {args.file.stem}, {args.preset} | calls | CPU seconds | share |\n|---|---|---|---|")
    for words, function in PHASES:
        calls, total = seconds(stats, function)
        print(f"| {words} | {calls:,} | {total:.1f} | {100 * total / whole:.1f} % |")
    print(f"| all | | {whole:.1f} | 100 % |")


if __name__ == "__main__":
    main()
