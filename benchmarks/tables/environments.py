"""Python environments for the judge and for each peer, apart from ours and from each other, made when first needed."""

import hashlib
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

CACHE = Path.home() / ".cache" / "mintage-bench"


@dataclass(frozen=True)
class Environment:
    installs: tuple[tuple[str, ...], ...]  # one after the other: whoever comes later must not choose torch
    removals: tuple[str, ...] = ()


TORCH = ("torch==2.13.0",)
ENVIRONMENTS = {
    "judge": Environment(
        (("lightgbm==4.7.0", "matplotlib", "numpy==2.4.6", "pandas==3.1.1", "pyarrow", "scikit-learn", "scipy"),)
    ),
    "ctgan": Environment((TORCH, ("ctgan==0.12.1", "pyarrow", "psutil"))),
    # It asks for two packages that it does not use for tables, and that must fit torch to the letter to be imported.
    "engine": Environment((TORCH, ("mostlyai-engine==2.7.3", "psutil")), ("torchvision", "torchaudio")),
}


def python(name: str, cache: Path) -> str:
    """The interpreter of that environment; "own" is ours."""
    if name == "own":
        return sys.executable
    wanted, folder = ENVIRONMENTS[name], cache / name
    mark, digest = folder / "installed", hashlib.sha256(repr(wanted).encode()).hexdigest()
    found = str(folder / "bin" / "python")
    if not mark.exists() or mark.read_text() != digest:
        print(f"making the environment {name} in {folder}", file=sys.stderr)
        venv.create(folder, with_pip=True)
        for packages in wanted.installs:
            subprocess.run([found, "-m", "pip", "install", "--quiet", *packages], check=True)
        if wanted.removals:
            subprocess.run([found, "-m", "pip", "uninstall", "--quiet", "--yes", *wanted.removals], check=True)
        mark.write_text(digest)
    return found
