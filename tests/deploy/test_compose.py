"""The compose file, its GPU override and the example of its secrets."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.settings import Settings
from tests.deploy.reading import OF_THE_ADMIN, ROOT, SETTINGS, is_pinned, variables, walk

TEXT = (ROOT / "docker-compose.yml").read_text()
PLACE = re.compile(r"\$\{(\w+)(?::(-|\?)([^}]*))?\}")
SECRETS = {"POSTGRES_PASSWORD", "VALKEY_PASSWORD", "S3_ACCESS_KEY", "S3_SECRET_KEY", "API_KEY"}
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(TEXT)["services"]
OURS = ("migrate", "api", "worker", "worker-cpu")


def filled(text: str, given: dict[str, str]) -> str:
    """The text as compose fills it in: values, then defaults. Raises KeyError for what must be given and is not."""
    return PLACE.sub(lambda place: given.get(place[1]) or (place[3] if place[2] == "-" else given[place[1]]), text)


def test_all_the_parts_are_there() -> None:
    assert set(SERVICES) == {*OURS, "postgres", "valkey", "seaweedfs"}


def test_only_the_api_and_the_bucket_are_published_and_only_to_this_machine() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(published) == {"api", "seaweedfs"}
    for ports in published.values():
        assert len(ports) == 1
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", filled(ports[0], {}))
    assert not [name for name, service in SERVICES.items() if "network_mode" in service]


def test_a_part_of_inner_servers_listens_on_the_loopback_interface() -> None:
    command = SERVICES["seaweedfs"]["command"]
    assert "-ip.bind=127.0.0.1" in command  # master, volumes and filer ask for no password
    assert "-s3.ip.bind=0.0.0.0" in command


@pytest.mark.parametrize("name", SERVICES)
def test_every_part_runs_with_the_least_rights(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["init"] is True
    assert "privileged" not in service
    assert "/tmp" in service["tmpfs"]  # noqa: S108


@pytest.mark.parametrize("name", SERVICES)
def test_every_part_comes_back_and_has_time_to_stop(name: str) -> None:
    assert SERVICES[name]["restart"] == ("on-failure" if name == "migrate" else "unless-stopped")
    assert SERVICES[name]["stop_grace_period"] == "2m"


@pytest.mark.parametrize("name", SERVICES)
def test_every_image_is_pinned(name: str) -> None:
    assert is_pinned(filled(SERVICES[name]["image"], {}))


def test_our_parts_start_after_what_they_lean_on() -> None:
    for name in ("api", "worker", "worker-cpu"):
        awaited = SERVICES[name]["depends_on"]
        assert awaited["migrate"] == {"condition": "service_completed_successfully"}
        assert {name: awaited[name]["condition"] for name in awaited if name != "migrate"} == dict.fromkeys(
            ("postgres", "valkey", "seaweedfs"), "service_healthy"
        )
    awaited_for_health = {"postgres", "valkey", "seaweedfs", "api"}
    assert all("test" in SERVICES[name]["healthcheck"] for name in awaited_for_health)


def test_every_volume_that_is_named_is_declared() -> None:
    mounted = {volume.partition(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    named = {volume for volume in mounted if not volume.startswith("/")}
    assert named == set(yaml.safe_load(TEXT)["volumes"])


def test_every_variable_is_a_setting_and_together_they_are_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    assert variables(TEXT) <= SETTINGS | OF_THE_ADMIN
    given = dict.fromkeys(SECRETS, "0123456789abcdef" * 3)
    for name, value in SERVICES["api"]["environment"].items():
        monkeypatch.setenv(name, filled(value, given))
    read = Settings()  # type: ignore[call-arg]
    assert (
        read.database_url.get_secret_value() == f"postgresql+psycopg://mintage:{given['API_KEY']}@postgres:5432/mintage"
    )
    assert read.s3_public_endpoint_url == "http://127.0.0.1:8333"


def test_the_bucket_s_public_address_is_the_one_that_is_published() -> None:
    (port,) = SERVICES["seaweedfs"]["ports"]
    address = SERVICES["api"]["environment"]["MINTAGE_S3_PUBLIC_ENDPOINT_URL"]
    assert filled(address, {}) == "http://" + filled(port, {}).rpartition(":")[0]


def test_a_missing_secret_stops_compose_and_none_has_a_default() -> None:
    without_default = {place[1] for place in PLACE.finditer(TEXT) if place[2] != "-"}
    assert without_default == SECRETS
    assert all(place[2] == "?" and place[3] for place in PLACE.finditer(TEXT) if place[1] in SECRETS)


def test_the_example_names_every_variable_and_holds_no_secret() -> None:
    example = (ROOT / ".env.example").read_text()
    named = dict(re.findall(r"^#?([A-Z0-9_]+)=(.*)$", example, re.MULTILINE))
    override = (ROOT / "docker-compose.gpu.yml").read_text()
    assert set(named) == {place[1] for place in PLACE.finditer(TEXT + override)}
    assert {name for name, value in named.items() if not value} == SECRETS
    defaults = {place[1]: place[3] for place in PLACE.finditer(TEXT + override) if place[2] == "-" and place[3]}
    assert {name: named[name] for name in defaults} == defaults


def test_make_env_fills_in_each_secret_anew_and_never_over_another(tmp_path: Path) -> None:
    for name in ("Makefile", ".env.example"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    command = ["make", "env", f"PYTHON={sys.executable}"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
    made = tmp_path / ".env"
    assert made.stat().st_mode & 0o777 == 0o600
    found = dict(re.findall(r"^([A-Z0-9_]+)=(.*)$", made.read_text(), re.MULTILINE))
    assert set(found) == SECRETS
    assert len(set(found.values())) == len(SECRETS)
    assert all(re.fullmatch("[0-9a-f]{48}", secret) for secret in found.values())
    before = made.read_text()
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert again.returncode != 0
    assert "not overwritten" in again.stderr
    assert made.read_text() == before


def test_secrets_are_on_no_command_line() -> None:
    for service in SERVICES.values():
        for word in walk(service.get("command", [])):
            assert not isinstance(word, str) or not {place[1] for place in PLACE.finditer(word)} & SECRETS


def test_the_gpu_override_reserves_a_gpu_for_the_worker_alone() -> None:
    override = yaml.safe_load(filled((ROOT / "docker-compose.gpu.yml").read_text(), {}))["services"]
    assert set(override) == {"worker"}
    (device,) = override["worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}
