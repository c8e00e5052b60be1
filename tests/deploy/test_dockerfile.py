"""The Dockerfile: pinned, unprivileged, no torch where none belongs."""

import re
import subprocess
import tomllib

import pytest
import yaml

from tests.deploy.reading import ROOT, SETTINGS, is_pinned, variables

TEXT = (ROOT / "Dockerfile").read_text()
STAGE = re.compile(r"^FROM \S+ AS (\S+)\n(.*?)(?=^FROM |\Z)", re.MULTILINE | re.DOTALL)
STAGES = dict(STAGE.findall(TEXT))


@pytest.mark.parametrize("target", ["service", "worker"])
def test_each_image_runs_as_a_user_of_its_own_and_says_whether_it_is_well(target: str) -> None:
    user = re.findall(r"^USER (.*)$", STAGES[target], re.MULTILINE)[-1]
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", user)  # a number: Kubernetes cannot check a name
    assert "HEALTHCHECK" in STAGES[target]
    assert re.search(r"^CMD \[", STAGES[target], re.MULTILINE)  # no shell between a signal and the program


def test_the_base_image_is_pinned_and_there_is_one() -> None:
    (base,) = re.findall(r"^ARG PYTHON_IMAGE=(\S+)$", TEXT, re.MULTILINE)
    assert is_pinned(base)
    outside = set(re.findall(r"^FROM (\S+)", TEXT, re.MULTILINE)) - STAGES.keys()
    assert outside == {"${PYTHON_IMAGE}"}


def test_every_package_has_the_version_that_was_tested() -> None:
    for command in re.findall(r"pip [^\n]*install.*?(?:[^\\]\n)", TEXT, re.DOTALL):
        assert "--constraint constraints.txt" in command or "--no-deps /wheel/" in command


def test_no_torch_reaches_the_api_s_image() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = " ".join(project["dependencies"] + project["optional-dependencies"]["service"])
    assert "torch" not in named
    assert "service.txt" in STAGES["service-packages"]
    assert "worker.txt" not in STAGES["service-packages"]


def test_torch_comes_from_pypi_unless_told_otherwise() -> None:
    assert re.search(r"^ARG TORCH_INDEX_URL=$", TEXT, re.MULTILINE)


def test_every_variable_is_a_setting() -> None:
    assert variables(TEXT) <= SETTINGS


def test_the_builder_is_sent_what_is_copied_and_nothing_else() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    sent = {line[1:] for line in lines if line.startswith("!")}
    copied = {word for line in re.findall(r"^COPY ((?!--).*) \S+$", TEXT, re.MULTILINE) for word in line.split()}
    assert lines[1] == "*"
    assert copied == sent


def test_no_address_is_named_but_public_ones() -> None:
    files = subprocess.run(
        ["git", "ls-files", "helm"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    names = ["Dockerfile", "docker-compose.yml", "docker-compose.gpu.yml", ".env.example", *files]
    hosts = {host for name in names for host in re.findall(r"https?://([a-zA-Z0-9.-]+)", (ROOT / name).read_text())}
    assert hosts <= {"127.0.0.1", "seaweedfs", "download.pytorch.org", "json-schema.org"}


def test_chart_package_and_images_have_one_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    chart = yaml.safe_load((ROOT / "helm" / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == version
    tags = re.findall(r"\$\{IMAGE_TAG:-([^}]+)\}", (ROOT / "docker-compose.yml").read_text())
    assert set(tags) == {version}
