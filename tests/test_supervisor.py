"""The supervisor and the embedded server, with real processes: O1, F49, F50, F55, A69."""

from __future__ import annotations

import logging
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from redis import Redis

from connector.bell import Bell
from connector.embedded import UnsafeDirectory, Valkey, redis_url, socket_path
from connector.supervisor import AlreadyRunning, Child, Supervisor

SLEEPER = "import time\nwhile True: time.sleep(60)"
POLITE = """
import pathlib, signal, sys, time
asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
pathlib.Path(sys.argv[1] + ".up").touch()
while not asked: time.sleep(0.01)
time.sleep(float(sys.argv[2]))
pathlib.Path(sys.argv[1]).write_text(str(time.monotonic()))
"""
STUBBORN = (
    "import pathlib, signal, sys, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\npathlib.Path(sys.argv[1]).touch()\ntime.sleep(600)"
)
PARENT = "import pathlib, subprocess, sys\npathlib.Path(sys.argv[1]).write_text(str(subprocess.Popen(['sleep', '600']).pid))\nsys.exit(3)"

TETHERS = ["watch", pytest.param("become", marks=pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux'"))]


def python(name: str, code: str, *args: object, answers: Callable[[], bool] | None = None) -> Child:
    return Child(name, (sys.executable, "-c", code, *map(str, args)), answers=answers)


def wait_until(true: Callable[[], bool], *, seconds: float = 20.0) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.01)


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        if Path("/proc/self").exists():
            return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("tether", TETHERS)
def test_a_killed_child_is_back_at_once(tmp_path: Path, tether: str) -> None:
    with Supervisor(tmp_path, [python("one", SLEEPER), python("two", SLEEPER)], os.environ, tether=tether) as supervisor:
        before = supervisor.pids()
        began = time.monotonic()
        supervisor.kill("one")
        wait_until(lambda: supervisor.pids().get("one", before["one"]) != before["one"])

        assert time.monotonic() - began < 2.0
        assert supervisor.pids()["two"] == before["two"]
    assert not any(map(lives, before.values()))


def test_a_child_that_dies_again_and_again_is_restarted_ever_more_slowly(tmp_path: Path) -> None:
    lives_file = tmp_path / "lives"
    code = "import sys; open(sys.argv[1], 'a').write('x'); sys.exit(1)"
    with Supervisor(tmp_path, [python("doomed", code, lives_file)], os.environ):
        time.sleep(3.0)

    assert 2 <= len(lives_file.read_text(encoding="ascii")) <= 6


def test_a_command_that_is_none_hinders_nobody_else(tmp_path: Path) -> None:
    with Supervisor(tmp_path, [Child("none", ("/no/such/command",)), python("one", SLEEPER)], os.environ) as supervisor:
        time.sleep(0.5)

        assert "one" in supervisor.pids()


def test_what_a_dead_child_leaves_behind_goes_too(tmp_path: Path) -> None:
    with Supervisor(tmp_path, [python("parent", PARENT, tmp_path / "pid")], os.environ):
        wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(encoding="ascii") != "")
        orphan = int((tmp_path / "pid").read_text(encoding="ascii"))

        wait_until(lambda: not lives(orphan))


@pytest.mark.parametrize("tether", TETHERS)
def test_a_stop_lets_children_finish_and_ends_the_needed_ones_last(tmp_path: Path, tether: str) -> None:
    needed, worker = tmp_path / "needed", tmp_path / "worker"
    children = [
        python("worker", POLITE, worker, 0.5),
        python("needed", POLITE, needed, 0, answers=Path(f"{needed}.up").exists),
    ]
    supervisor = Supervisor(tmp_path, children, os.environ, tether=tether)
    supervisor.start()
    wait_until(Path(f"{worker}.up").exists)

    supervisor.stop()
    supervisor.stop()

    assert float(worker.read_text(encoding="ascii")) < float(needed.read_text(encoding="ascii"))


@pytest.mark.parametrize("tether", TETHERS)
def test_a_child_that_does_not_stop_is_killed_after_the_grace(tmp_path: Path, tether: str) -> None:
    supervisor = Supervisor(tmp_path, [python("stubborn", STUBBORN, tmp_path / "up")], os.environ, grace=0.5, tether=tether)
    supervisor.start()
    wait_until((tmp_path / "up").exists)
    pid = supervisor.pids()["stubborn"]

    began = time.monotonic()
    supervisor.stop()

    assert 0.4 < time.monotonic() - began < 5.0
    assert not lives(pid)


MAIN = """
import os, sys, threading, time
from pathlib import Path
from connector.supervisor import Child, Supervisor
sleeper = (sys.executable, "-c", sys.argv[3], sys.argv[4])
supervisor = Supervisor(Path(sys.argv[1]), [Child("one", sleeper), Child("two", ("sleep", "600"))], os.environ, tether=sys.argv[2])
def tell():
    while len(supervisor.pids()) < 2 or not os.path.exists(sys.argv[4]): time.sleep(0.01)
    print(*supervisor.pids().values(), flush=True)
threading.Thread(target=tell, daemon=True).start()
sys.exit(supervisor.run())
"""


def main_program(directory: Path, tether: str, code: str) -> tuple[subprocess.Popen[str], list[int]]:
    command = [sys.executable, "-c", MAIN, str(directory), tether, code, str(directory / "up")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    return process, [int(pid) for pid in process.stdout.readline().split()]


UP = "import pathlib, sys, time\npathlib.Path(sys.argv[1]).touch()\ntime.sleep(600)"


@pytest.mark.parametrize("tether", TETHERS)
def test_f55_children_die_with_a_supervisor_that_is_killed_and_the_next_one_starts(tmp_path: Path, tether: str) -> None:
    process, pids = main_program(tmp_path, tether, UP)
    with process:
        assert len(pids) == 2
        assert all(map(lives, pids))
        process.kill()

    wait_until(lambda: not any(map(lives, pids)))
    with Supervisor(tmp_path, [python("one", SLEEPER)], os.environ) as supervisor:
        assert "one" in supervisor.pids()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_main_program_stops_when_told_to(tmp_path: Path, number: signal.Signals) -> None:
    process, pids = main_program(tmp_path, "become" if sys.platform == "linux" else "watch", UP)
    with process:
        process.send_signal(number)

        assert process.wait(10) == 0
    assert not any(map(lives, pids))


def test_a_second_signal_kills_at_once(tmp_path: Path) -> None:
    process, pids = main_program(tmp_path, "become" if sys.platform == "linux" else "watch", STUBBORN)
    with process:
        process.terminate()
        time.sleep(0.5)
        assert process.poll() is None
        process.terminate()

        assert process.wait(5) == 0
    assert not any(map(lives, pids))


def test_a_second_supervisor_is_refused_and_told_whom_to_stop(tmp_path: Path) -> None:
    with Supervisor(tmp_path, [python("one", SLEEPER)], os.environ) as first:
        before = first.pids()
        with pytest.raises(AlreadyRunning, match=rf"as process {os.getpid()}\."):
            Supervisor(tmp_path, [python("one", SLEEPER)], os.environ).start()

        assert first.pids() == before
    with Supervisor(tmp_path, [], os.environ):
        pass


def test_a71_neither_environment_nor_commands_reach_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    child = python("one", "import sys; sys.exit(1)", "hunter2")
    with Supervisor(tmp_path, [child], {**os.environ, "SECRET": "hunter3"}) as supervisor:
        time.sleep(0.5)
        supervisor.kill("one")

    told = [str(record.__dict__) for record in caplog.records if record.name == "connector.supervisor"]
    assert {record.getMessage() for record in caplog.records} >= {"child.started", "child.died"}
    assert told
    assert not any("hunter" in line for line in told)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_readiness_that_cannot_be_asked_hangs_nobody_and_leaves_nothing(tmp_path: Path) -> None:
    def answers() -> bool:
        raise RuntimeError("a mistake of ours")

    with Supervisor(tmp_path, [python("needed", SLEEPER, answers=answers)], os.environ) as supervisor:
        wait_until(lambda: not supervisor.pids())
    with Supervisor(tmp_path, [], os.environ):
        pass


# --- the embedded server


def test_o1_the_embedded_server_is_private_and_forgetful(tmp_path: Path) -> None:
    valkey = Valkey(tmp_path)
    with Supervisor(tmp_path, [valkey.child()], os.environ) as supervisor:
        assert valkey.answers()
        redis = Redis.from_url(valkey.url)
        asked = {"port": "0", "save": "", "appendonly": "no", "maxmemory-policy": "noeviction", "maxmemory": str(64 << 20)}
        assert {name: redis.config_get(name)[name] for name in asked} == asked
        assert stat.S_IMODE(valkey.socket.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE(valkey.socket.stat().st_mode) == 0o700
        if Path("/proc/net/tcp").exists():
            handles = {str(link.readlink()) for link in Path(f"/proc/{supervisor.pids()['valkey']}/fd").iterdir() if link.is_symlink()}
            lines = [line for file in ("tcp", "tcp6") for line in Path("/proc/net", file).read_text(encoding="ascii").splitlines()[1:]]
            assert not any(f"socket:[{line.split()[9]}]" in handles for line in lines)
        redis.set("x", 1)
        redis.close()
    assert not valkey.answers()
    assert [path.name for path in valkey.socket.parent.iterdir() if path.name != "valkey.sock"] == []


def test_f50_a_killed_server_is_back_and_heard(tmp_path: Path) -> None:
    valkey = Valkey(tmp_path)
    bell = Bell(valkey.url)
    with Supervisor(tmp_path, [valkey.child()], os.environ) as supervisor:
        assert bell.ring()

        supervisor.kill("valkey")  # its socket stays behind
        wait_until(lambda: bell.ring(force=True))

        assert Redis.from_url(valkey.url).llen("rq:queue:work") == 1


def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    valkey = Valkey(tmp_path)
    child = valkey.child()
    with subprocess.Popen(child.command) as former:
        wait_until(valkey.answers)
        former.kill()
    assert valkey.socket.exists()

    with Supervisor(tmp_path, [valkey.child()], os.environ):
        assert valkey.answers()


@pytest.mark.parametrize("name", ["with spaces", "100 % 'odd' \"names\" ?#&", "größe-和", "x" * 120, "x" * 60 + "/" + "y" * 60])
def test_any_data_directory_will_do(tmp_path: Path, name: str) -> None:
    data = tmp_path / name
    valkey = Valkey(data)
    with Supervisor(data, [valkey.child()], os.environ):
        assert Bell(valkey.url).ring()

    assert len(os.fsencode(valkey.socket)) <= 100
    assert (redis_url(data), socket_path(data)) == (valkey.url, valkey.socket)
    if not valkey.socket.is_relative_to(data):
        valkey.socket.unlink(missing_ok=True)
        valkey.socket.parent.rmdir()


def test_a_directory_that_is_not_ours_alone_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(UnsafeDirectory, match="run is not a directory"):
        Valkey(tmp_path).child()


def test_a_directory_open_to_others_is_closed(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run").chmod(0o777)

    Valkey(tmp_path).child()

    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o700
