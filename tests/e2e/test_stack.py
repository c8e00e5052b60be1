"""The local stack as its user meets it: the real program, real servers, a real training; and what happens when parts of
it are killed. One stack after the other, on one data directory."""

import csv
import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import psutil
import pyarrow.parquet as pq
import pytest

from mintage import Mintage
from mintage.address import read
from mintage.errors import StackError
from mintage.stack.datadir import open_data_dir
from mintage.stack.ports import free_pairs
from mintage.stack.supervisor import Stack
from mintage.upload import upload

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("stack"), pytest.mark.timeout(300)]
ROOT = Path(__file__).parents[2]


class Mint:
    """The program `mintage` on one data directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        known = {name: value for name, value in os.environ.items() if not name.startswith("MINTAGE_")}
        self.env = {**known, "MINTAGE_DATA_DIR": str(self.data), "XDG_CACHE_HOME": str(folder / "cache")}
        self.command = [sys.executable, "-m", "mintage"]
        # of its own: stacks of other tests start at the same moment, and would all find the usual one free
        self.up = ("up", "--port", str(free_pairs(1)[0]))

    def run(self, *arguments: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*self.command, *arguments], capture_output=True, text=True, timeout=240, check=False, env=self.env,
            cwd=self.folder,
        )  # fmt: skip
        assert done.returncode == expect, f"{arguments}: {done.stdout}\n{done.stderr}\n{self.logs()}"
        assert "Traceback" not in done.stderr
        return done

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run("--json", *arguments).stdout.splitlines()[-1])

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self.command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.env,
            cwd=self.folder, start_new_session=True,
            # a test run in the background hands down that Ctrl-C is ignored
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip

    def processes(self) -> dict[str, dict[str, Any]]:
        return {one["name"]: one for one in self.json("status")["processes"]}

    def family(self) -> list[psutil.Process]:
        """`up` and all that it started, directly or not."""
        up = psutil.Process(self.processes()["up"]["pid"])
        return [up, *up.children(recursive=True)]

    def logs(self) -> str:
        return "\n".join(
            f"--- {log.name}\n{log.read_text(errors='replace')[-1500:]}" for log in self.data.glob("logs/*")
        )


@pytest.fixture(scope="module")
def mint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mint]:
    made = Mint(tmp_path_factory.mktemp("stack"))
    made.run(*made.up, "--detach")
    yield made
    made.run("down")


@pytest.fixture(scope="module")
def table(mint: Mint) -> Path:
    rng = random.Random(1)
    path = mint.folder / "people.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["age", "group", "score", "seven"])
        for _ in range(400):
            group = rng.choice("aab")
            rows.writerow([rng.randint(18, 80), group, f"{rng.gauss(0 if group == 'a' else 5, 1):.2f}", 7])
    return path


@pytest.fixture(scope="module")
def model(mint: Mint, table: Path) -> str:
    dataset = mint.json("datasets", "upload", str(table))
    assert dataset["status"] == "ready"
    assert dataset["rows"] == 400
    trained = mint.json("train", dataset["id"], "--preset", "draft", "--steps", "30", "--seed", "1")
    assert trained["state"] == "succeeded"
    return str(trained["result"]["model_id"])


def eventually(true: Callable[[], bool], seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.1)


def gone(family: list[psutil.Process]) -> bool:
    return not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in family)


def test_a_file_becomes_a_model_and_the_model_makes_the_rows_that_were_asked_for(mint: Mint, model: str) -> None:
    arguments = ["--count", "1000", "--format", "csv", "--where", "group=b", "--seed", "3"]
    job = mint.json("generate", model, *arguments, "--out", "out")
    assert job["result"]["output"]["rows"] == 1000
    manifest = json.loads((mint.folder / "out" / "manifest.json").read_text())
    (file,) = manifest["files"]
    data = (mint.folder / "out" / file["name"]).read_bytes()
    assert hashlib.sha256(data).hexdigest() == file["sha256"]
    rows = list(csv.DictReader(data.decode().splitlines()))
    assert len(rows) == 1000
    assert list(rows[0]) == ["age", "group", "score", "seven"]
    assert {row["group"] for row in rows} == {"b"}
    assert {row["seven"] for row in rows} == {"7"}
    assert all(18 <= int(row["age"]) <= 80 for row in rows)


def test_the_report_is_shown_and_saved(mint: Mint, model: str) -> None:
    shown = mint.run("models", "report", model, "--html", "report.html")
    assert "shape" in shown.stdout
    assert "<html" in (mint.folder / "report.html").read_text().lower()


def test_a_refusal_names_its_code(mint: Mint, model: str) -> None:
    refused = mint.run("generate", model, "--count", "5", "--where", "group=zebra", expect=1)
    assert "[invalid_condition]" in refused.stderr
    assert "zebra" in refused.stderr


def test_a_rejected_file_names_its_code(mint: Mint) -> None:
    (mint.folder / "empty.csv").write_text("")
    refused = mint.run("datasets", "upload", "empty.csv", expect=1)
    assert re.search(r"Error: .+ \[[a-z_]+\]", refused.stderr)


def test_the_python_example_of_the_readme_runs(mint: Mint) -> None:
    """As it stands, but on an excerpt of its file and with fewer steps."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    examples = [block for block in blocks if "from mintage import Mintage" in block]
    assert examples, "the README has a Python example"
    excerpt = mint.folder / "examples" / "data" / "adult.parquet"
    excerpt.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pq.read_table(ROOT / "examples" / "data" / excerpt.name).slice(0, 1_500), excerpt)
    for example in examples:
        short, n = re.subn(r"preset=\"\w+\"", 'preset="draft", steps=30', example)
        assert n == 1, "it trains one model"
        done = subprocess.run(
            [sys.executable, "-c", short], env=mint.env, cwd=mint.folder, timeout=200, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    table = pq.read_table(next((mint.folder / "synthetic").glob("*.parquet")))
    assert table.num_rows == 10_000


def test_a_second_up_on_the_same_directory_is_refused(mint: Mint) -> None:
    for arguments in (["up"], ["up", "--detach"]):
        refused = mint.run(*arguments, expect=1)
        assert "runs already" in refused.stderr
        assert "mintage down" in refused.stderr


def test_the_doctor_finds_a_running_stack_well(mint: Mint) -> None:
    checks = {check["name"]: check for check in mint.json("doctor")["checks"]}
    assert checks["server"]["state"] == checks["bucket"]["state"] == checks["api key"]["state"] == "ok"


def test_nothing_listens_beyond_this_machine(mint: Mint) -> None:
    listening = [
        connection.laddr.ip
        for process in mint.family()
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) >= 3
    assert set(listening) == {"127.0.0.1"}


def test_the_bucket_is_closed_to_whoever_has_no_key(mint: Mint) -> None:
    ports = json.loads((mint.data / "running.json").read_text())["ports"]
    assert httpx.get(f"http://127.0.0.1:{ports['s3']}/mintage").status_code == 403
    assert httpx.get(f"http://127.0.0.1:{ports['filer']}/buckets/mintage/").status_code == 401


def test_a_file_of_several_parts_goes_straight_to_the_bucket(mint: Mint) -> None:
    path = mint.folder / "large.csv"
    line = ",".join(["1234567"] * 30)
    with path.open("w") as file:
        file.write(",".join(f"c{i}" for i in range(30)) + "\n")
        for start in range(20):
            file.write(f"{start}{line[2:]}\n" * 4_000)
    assert path.stat().st_size > 17 << 20  # more than one part
    with Mintage(data_dir=mint.data) as client:
        made = upload(client, path, None, "table", None, in_parts_from=1)
        assert client.datasets.wait(made.id, timeout=120).rows == 80_000


def test_secrets_are_readable_by_their_owner_alone(mint: Mint) -> None:
    assert mint.data.stat().st_mode & 0o777 == 0o700
    for name in ("server.json", "secrets.json", "running.json"):
        assert (mint.data / name).stat().st_mode & 0o777 == 0o600
    for path in (*mint.data.glob("mintage.db*"), *filter(Path.is_dir, mint.data.iterdir())):
        assert path.stat().st_mode & 0o077 == 0, path


def test_log_files_are_plain_text(mint: Mint) -> None:
    logs = {path.name: path.read_text(errors="replace") for path in mint.data.glob("logs/*.log")}
    assert {"api.log", "worker-1.log", "seaweedfs.log", "valkey.log", "up.log"} <= set(logs)
    assert [name for name, text in logs.items() if "\x1b" in text] == []
    assert "Application startup complete" in logs["api.log"]


def test_ctrl_c_during_a_wait_leaves_the_job_which_can_then_be_cancelled(mint: Mint, model: str) -> None:
    dataset = mint.json("datasets", "list")["data"][-1]["id"]
    waiting = mint.start("train", dataset, "--steps", "1000000")
    eventually(lambda: any(job["state"] == "running" for job in mint.json("jobs", "list")["data"]), 60, "it runs")
    waiting.send_signal(signal.SIGINT)
    _, told = waiting.communicate(timeout=20)
    assert waiting.returncode == 130
    (job_id,) = set(re.findall(r"job_\w+", told))
    assert f"mintage jobs cancel {job_id}" in told
    assert mint.json("jobs", "show", job_id)["state"] == "running"
    mint.run("jobs", "cancel", job_id)
    eventually(lambda: mint.json("jobs", "show", job_id)["state"] == "cancelled", 30, "it is cancelled")
    assert "cancelled" in mint.run("jobs", "watch", job_id, expect=1).stderr


def test_a_killed_worker_and_a_killed_api_are_started_again(mint: Mint, model: str) -> None:
    before = mint.processes()
    for name in ("worker-1", "api"):
        os.kill(before[name]["pid"], signal.SIGKILL)

    def again() -> bool:
        now = mint.processes()
        return all(now[n]["state"] == "running" and now[n]["pid"] != before[n]["pid"] for n in ("worker-1", "api"))

    def answers() -> bool:
        return subprocess.run([*mint.command, "models", "list"], capture_output=True, env=mint.env).returncode == 0

    eventually(again, 30, "both run again")
    eventually(answers, 30, "the API takes calls again")
    assert mint.json("generate", model, "--count", "10", "--out", "after")["state"] == "succeeded"


def test_a_killed_workers_training_runs_again_within_half_a_minute(mint: Mint, model: str) -> None:
    with Mintage(data_dir=mint.data) as client:
        job = client.train(next(client.datasets.list()), steps=1_000_000)

        def step() -> int:
            return job.refresh().progress.step or 0

        eventually(lambda: step() >= 500, 60, "it trains")
        os.kill(mint.processes()["worker-1"]["pid"], signal.SIGKILL)
        start = time.monotonic()
        eventually(lambda: job.refresh().attempt == 2, 60, "it is taken again")
        taken = time.monotonic() - start
        eventually(lambda: 0 < step() < 500, 60, "it trains again, from the start as there is no checkpoint yet")
        job.cancel()
        eventually(lambda: job.refresh().state == "cancelled", 30, "it is cancelled")
    assert taken < 30.0


def test_kill_nine_of_the_stack_leaves_no_process_and_the_next_up_finds_all_data(mint: Mint, model: str) -> None:
    family = mint.family()
    os.kill(family[0].pid, signal.SIGKILL)
    eventually(lambda: gone(family), 15, "its children die with it")
    assert mint.json("status")["processes"] == []
    mint.run(*mint.up, "--detach")
    assert mint.json("models", "show", model)["status"] == "ready"
    assert mint.json("generate", model, "--count", "10", "--out", "revived")["state"] == "succeeded"


def test_down_stops_everything_within_seconds_and_may_be_repeated(mint: Mint) -> None:
    family = mint.family()
    ports = [one["port"] for one in mint.processes().values() if one["port"]]
    start = time.monotonic()
    stopped = mint.json("down")["stopped"]
    assert time.monotonic() - start < 15
    assert {"valkey", "seaweedfs", "api", "worker-1"} <= set(stopped)
    assert gone(family)
    assert not (mint.data / "server.json").exists()
    assert not [path for port in ports for path in Path("/tmp").glob(f"seaweedfs-*{port}.sock")]  # noqa: S108
    assert "was not running" in mint.run("down").stdout


def test_ctrl_c_stops_an_up_in_the_foreground(tmp_path: Path) -> None:
    mint = Mint(tmp_path)  # of its own: it depends on no test before it
    up = mint.start(*mint.up, "--workers", "2")
    assert up.stdout is not None
    told = ""
    for line in up.stdout:
        told += line
        if "curl" in line:
            break
    assert "Mintage is ready" in told, up.communicate(timeout=30)[1]
    family = mint.family()
    assert {"worker-1", "worker-2"} <= set(mint.processes())
    os.killpg(up.pid, signal.SIGINT)  # as a terminal does it: to the whole group
    _, rest = up.communicate(timeout=30)
    assert up.returncode == 0, rest
    assert gone(family)


class Stranger(BaseHTTPRequestHandler):
    """Another stack: ready, but it does not know our key."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/readyz" else 401)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


def test_a_port_that_another_stack_took_first_is_left_to_it(tmp_path: Path) -> None:
    """As when two stacks start at one time: the port was free when they looked."""
    with HTTPServer(("127.0.0.1", free_pairs(1)[0]), Stranger) as stranger:
        threading.Thread(target=stranger.serve_forever, daemon=True).start()
        taken = stranger.server_port
        stack = Stack(open_data_dir(tmp_path / "data"), None, print, threading.Event())
        stack.ports = replace(stack.ports, api=taken)
        try:
            stack.start(workers=0)
            found = read(stack.data.root)
            assert found is not None
            assert not found.url.endswith(f":{taken}")
            with Mintage(found.url, found.api_key) as client:
                assert list(client.datasets.list()) == []
        finally:
            stack.stop()
            stranger.shutdown()


def test_a_port_that_was_asked_for_and_is_lost_is_a_sentence(tmp_path: Path) -> None:
    with HTTPServer(("127.0.0.1", free_pairs(1)[0]), Stranger) as stranger:
        threading.Thread(target=stranger.serve_forever, daemon=True).start()
        taken = stranger.server_port
        stack = Stack(open_data_dir(tmp_path / "data"), None, print, threading.Event())
        stack.ports, stack._port_asked_for = replace(stack.ports, api=taken), taken
        try:
            with pytest.raises(StackError, match=f"Port {taken} is taken"):
                stack.start(workers=0)
        finally:
            stack.stop()
            stranger.shutdown()
