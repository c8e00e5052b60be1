"""Tables side by side with other tools: the same real sets, the same split, the same cores, one judge.

`python -m benchmarks.tables --help` says how; RESULTS.md what came out."""
