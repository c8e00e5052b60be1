"""The chart as Helm renders it, for a trial and for production."""

import subprocess
from functools import cache
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from service.settings import Settings
from tests.deploy.helm_binary import helm
from tests.deploy.reading import OF_THE_ADMIN, ROOT, SETTINGS, is_pinned, walk

CHART = ROOT / "helm"
VERSIONS = ["1.28", "1.31", "1.35"]
OWN_SERVERS = (
    "postgresql.enabled=false", "externalDatabase.existingSecret=database",
    "valkey.enabled=false", "externalRedis.existingSecret=broker",
    "seaweedfs.enabled=false", "externalObjectStorage.existingSecret=bucket", "auth.existingSecret=access",
)  # fmt: skip
EVERY_OPTION = (
    "worker.gpu.count=2", "worker.slots=2", "worker.threads=4", "worker.runtimeClassName=nvidia",
    "networkPolicy.enabled=true",
    "ingress.enabled=true", "ingress.host=mintage.example.com", "ingress.bucketHost=bucket.example.com",
    "ingress.tlsSecretName=certificate", "ingress.className=nginx", "keda.enabled=true", "image.registry=r.example.com",
    "image.pullSecrets[0]=pull", "worker.nodeSelector.gpu=yes", "api.podAnnotations.a=b", "worker.podAnnotations.a=b",
    "workerCpu.podAnnotations.a=b", "serviceAccount.annotations.a=b", "postgresql.storage.className=fast",
)  # fmt: skip
KINDS = {
    "trial": (),
    "own servers": OWN_SERVERS,
    "identity of the pod": (*OWN_SERVERS, "externalObjectStorage.existingSecret="),
    "every option": EVERY_OPTION,
    "every option on own servers": (*OWN_SERVERS, *EVERY_OPTION),
}  # fmt: skip
Manifest = dict[str, Any]


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([helm(), *arguments], capture_output=True, text=True, check=False)


@cache
def rendered(*values: str) -> tuple[Manifest, ...]:
    """The manifests with these `--set name=value`."""
    sets = [word for value in values for word in ("--set", value)]
    done = run("template", "trial", str(CHART), *sets)
    assert done.returncode == 0, done.stderr
    return tuple(manifest for manifest in yaml.safe_load_all(done.stdout) if manifest)


def of_kind(manifests: tuple[Manifest, ...], *kinds: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] in kinds]


def pods(manifests: tuple[Manifest, ...]) -> dict[str, Manifest]:
    """The pods' specifications by component."""
    owners = of_kind(manifests, "Deployment", "StatefulSet", "Job")
    return {owner["metadata"]["labels"]["app.kubernetes.io/component"]: owner["spec"]["template"] for owner in owners}


def containers(manifests: tuple[Manifest, ...]) -> list[Manifest]:
    return [
        container
        for pod in pods(manifests).values()
        for container in pod["spec"].get("initContainers", []) + pod["spec"]["containers"]
    ]


def containers_of(part: str, *values: str) -> list[Manifest]:
    found: list[Manifest] = pods(rendered(*values))[part]["spec"]["containers"]
    return found


@pytest.fixture(params=list(KINDS.values()), ids=list(KINDS))
def manifests(request: pytest.FixtureRequest) -> tuple[Manifest, ...]:
    return rendered(*request.param)


def test_helm_finds_nothing_to_complain_about() -> None:
    done = run("lint", "--strict", str(CHART))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("version", VERSIONS)
def test_every_manifest_is_one_that_kubernetes_takes(manifests: tuple[Manifest, ...], version: str) -> None:
    checked = [manifest for manifest in manifests if not manifest["apiVersion"].startswith("keda.sh/")]
    assert len(checked) >= 7
    for manifest in checked:
        kubernetes_validate.validate(manifest, version, strict=True)


def test_a_manifest_with_a_misspelt_field_would_be_noticed() -> None:
    (deployment,) = (m for m in of_kind(rendered(), "Deployment") if m["metadata"]["name"] == "trial-mintage-api")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**deployment, "spec": {**deployment["spec"], "replica": 2}}, "1.35", strict=True)


@pytest.mark.parametrize(
    "value",
    [
        "apii.replicas=2", "api.replica=2", "api.replicas=0", "worker.gpu.count=-1", "postgresql.image=postgres:latest",
        "postgresql.image=postgres", "image.tag=latest", "settings.S3_BUCKET=x", "settings.database_url=x",
        "image.service=mintage/service:1.0",
    ],
)  # fmt: skip
def test_a_value_that_means_nothing_is_refused(value: str) -> None:
    done = run("template", "trial", str(CHART), "--set", value)
    assert done.returncode != 0
    assert "values don't meet the specifications of the schema" in done.stderr


@pytest.mark.parametrize("part", ["postgresql", "valkey"])
def test_a_server_that_is_switched_off_must_be_named(part: str) -> None:
    done = run("template", "trial", str(CHART), "--set", f"{part}.enabled=false")
    assert done.returncode != 0
    assert "existingSecret is needed" in done.stderr


def test_every_container_runs_with_the_least_rights(manifests: tuple[Manifest, ...]) -> None:
    for pod in pods(manifests).values():
        security = pod["spec"]["securityContext"]
        assert security["runAsNonRoot"]
        assert security["runAsUser"] > 0
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["spec"]["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod["spec"].keys()
        assert not [volume for volume in pod["spec"]["volumes"] if "hostPath" in volume]
    for container in containers(manifests):
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert not security.get("privileged")


def test_every_container_says_what_it_needs_and_has_a_pinned_image(manifests: tuple[Manifest, ...]) -> None:
    assert containers(manifests)
    for container in containers(manifests):
        assert is_pinned(container["image"])
        assert container["resources"]["requests"]
        assert container["resources"]["limits"]["memory"]


def test_what_a_container_writes_to_is_a_volume_of_its_pod(manifests: tuple[Manifest, ...]) -> None:
    owners = of_kind(manifests, "Deployment", "StatefulSet", "Job")
    for owner in owners:
        spec = owner["spec"]["template"]["spec"]
        claims = owner["spec"].get("volumeClaimTemplates", [])
        volumes = {volume["name"] for volume in spec["volumes"]} | {claim["metadata"]["name"] for claim in claims}
        for container in spec.get("initContainers", []) + spec["containers"]:
            mounts = {mount["name"] for mount in container["volumeMounts"]}
            assert "tmp" in mounts
            assert mounts <= volumes


def test_nothing_can_be_reached_from_outside_unless_asked_for() -> None:
    manifests = rendered()
    assert not of_kind(manifests, "Ingress")
    services = of_kind(manifests, "Service")
    assert {service["spec"].get("type", "ClusterIP") for service in services} == {"ClusterIP"}
    assert not [value for value in walk(list(manifests)) if isinstance(value, dict) and "hostPort" in value]


def test_an_ingress_leads_to_the_api_and_to_the_bucket_alone() -> None:
    (ingress,) = of_kind(rendered(*EVERY_OPTION), "Ingress")
    backends = {
        rule["host"]: rule["http"]["paths"][0]["backend"]["service"]["name"] for rule in ingress["spec"]["rules"]
    }
    assert backends == {
        "mintage.example.com": "trial-mintage-api",
        "bucket.example.com": "trial-mintage-seaweedfs",
    }
    (settings,) = of_kind(rendered(*EVERY_OPTION), "ConfigMap")
    assert settings["data"]["MINTAGE_S3_PUBLIC_ENDPOINT_URL"] == "https://bucket.example.com"


def test_own_servers_replace_the_bundled_ones() -> None:
    manifests = rendered(*OWN_SERVERS)
    assert not of_kind(manifests, "StatefulSet", "Secret")
    secrets = {value["secretKeyRef"]["name"] for value in walk(list(manifests)) if is_secret_reference(value)}
    assert secrets == {"database", "broker", "bucket", "access"}


def is_secret_reference(value: Any) -> bool:
    return isinstance(value, dict) and "secretKeyRef" in value


def test_every_secret_that_a_trial_reads_is_one_that_the_chart_makes() -> None:
    manifests = rendered()
    (secret,) = of_kind(manifests, "Secret")
    read = [value["secretKeyRef"] for value in walk(list(manifests)) if is_secret_reference(value)]
    assert {reference["name"] for reference in read} == {secret["metadata"]["name"]}
    assert {reference["key"] for reference in read} <= secret["stringData"].keys()
    assert min(len(value) for value in secret["stringData"].values()) >= 20
    assert len(secret["stringData"]["api-key"]) >= 32


def test_every_service_finds_its_pods(manifests: tuple[Manifest, ...]) -> None:
    for service in of_kind(manifests, "Service"):
        wanted = service["spec"]["selector"].items()
        found = [pod for pod in pods(manifests).values() if wanted <= pod["metadata"]["labels"].items()]
        assert len(found) == 1
        names = {port["name"] for container in found[0]["spec"]["containers"] for port in container["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= names


def test_every_variable_is_a_setting(manifests: tuple[Manifest, ...]) -> None:
    (settings,) = of_kind(manifests, "ConfigMap")
    named = {variable["name"] for container in containers(manifests) for variable in container.get("env", [])}
    ours = {name for name in named if name.startswith("MINTAGE_")} | settings["data"].keys()
    assert "MINTAGE_DATABASE_URL" in ours
    assert ours <= SETTINGS | OF_THE_ADMIN


def test_the_settings_of_a_trial_are_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    manifests = rendered("settings.max_upload_bytes=53687091200", "settings.lease_seconds=12.5")
    (settings,), (secret,) = of_kind(manifests, "ConfigMap"), of_kind(manifests, "Secret")
    for name, value in settings["data"].items():
        monkeypatch.setenv(name, value)
    for variable in containers(manifests)[0]["env"]:
        monkeypatch.setenv(variable["name"], secret["stringData"][variable["valueFrom"]["secretKeyRef"]["key"]])
    read = Settings()  # type: ignore[call-arg]
    assert read.max_upload_bytes == 53_687_091_200
    assert read.lease_seconds == 12.5
    assert read.s3_endpoint_url == "http://trial-mintage-seaweedfs:8333"
    assert "@trial-mintage-postgresql.default.svc:5432/" in read.database_url.get_secret_value()


def test_nothing_of_ours_starts_before_the_database_is_migrated(manifests: tuple[Manifest, ...]) -> None:
    for part in ("api", "worker", "worker-cpu"):
        waiting = pods(manifests)[part]["spec"]["initContainers"]
        assert [container["command"] for container in waiting] == [["python", "-m", "service.prepare", "--wait"]]
    assert pods(manifests)["migrate"]["spec"]["containers"][0]["command"] == ["python", "-m", "service.prepare"]


def test_the_migration_has_the_versions_name_and_a_new_one_when_it_changes() -> None:
    names = [
        of_kind(rendered(*values), "Job")[0]["metadata"]["name"]
        for values in ((), ("image.tag=9.9.9",), ("settings.max_attempts=4",), OWN_SERVERS)
    ]
    assert names[0].startswith("trial-mintage-migrate-0-1-0-")
    assert names[1].startswith("trial-mintage-migrate-9-9-9-")
    assert names[0] == names[2]  # a Job cannot be changed, so it is a new one just where its pod differs
    assert len(set(names)) == 3


def test_a_worker_asks_for_gpus_only_where_told() -> None:
    def limits(*values: str) -> Manifest:
        found: Manifest = containers_of("worker", *values)[0]["resources"]["limits"]
        return found

    assert "nvidia.com/gpu" not in limits()
    assert limits("worker.gpu.count=2")["nvidia.com/gpu"] == 2
    assert (
        limits("worker.gpu.count=1", r"worker.gpu.resourceName=nvidia.com/mig-1g\.10gb")["nvidia.com/mig-1g.10gb"] == 1
    )


def test_workers_have_time_to_save_a_checkpoint_and_are_probed_without_asking_celery() -> None:
    for part in ("worker", "worker-cpu"):
        assert pods(rendered())[part]["spec"]["terminationGracePeriodSeconds"] >= 120
        probe = containers_of(part)[0]["livenessProbe"]["exec"]["command"][-1]
        assert "/var/lib/mintage/worker-alive" in probe
        assert "celery" not in probe


def test_scaling_counts_the_units_that_run_and_leaves_the_replicas_alone() -> None:
    manifests = rendered("keda.enabled=true")
    (scaled,) = of_kind(manifests, "ScaledObject")
    assert "'running'" in scaled["spec"]["triggers"][0]["metadata"]["query"]
    (worker,) = (m for m in of_kind(manifests, "Deployment") if m["metadata"]["name"] == "trial-mintage-worker")
    assert scaled["spec"]["scaleTargetRef"]["name"] == worker["metadata"]["name"]
    assert "replicas" not in worker["spec"]


def test_threads_of_a_unit_can_be_limited() -> None:
    def variables_of_the_worker(*values: str) -> dict[str, Any]:
        return {variable["name"]: variable for variable in containers_of("worker", *values)[0]["env"]}

    assert "OMP_NUM_THREADS" not in variables_of_the_worker()
    assert variables_of_the_worker("worker.threads=4")["OMP_NUM_THREADS"]["value"] == "4"
