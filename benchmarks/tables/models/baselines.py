"""Two rows to compare with: `independent` shuffles each column by itself, `real` passes held-out rows as synthetic."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.tables.models.cost import Cost, arguments


def main() -> None:
    args, cost = arguments(), Cost()
    with cost.phase("train"):
        table = pq.read_table(args.folder / ("holdout.parquet" if args.model == "real" else "train.parquet"))
    with cost.phase("sample"):
        if args.model == "independent":
            rng = np.random.default_rng(args.seed)
            columns = [column.take(pa.array(rng.permutation(len(table)))) for column in table.columns]
            table = pa.table(columns, schema=table.schema)
        pq.write_table(table, args.folder / "synthetic.parquet")
    cost.write(args.folder, ["pyarrow"])


if __name__ == "__main__":
    main()
