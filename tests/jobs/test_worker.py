"""The worker against a real Valkey, with its faults: F49 to F56. What somebody plants in Redis (A69) is in test_planted_jobs."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from rq import Worker as PlainWorker

from connector.bell import Bell
from connector.embedded import Valkey as Embedded
from tests.jobs.workers import KEY, Worker, wait_until, worker_process
from tests.servers import Valkey


@pytest.fixture
def bell(valkey_server: Valkey) -> Bell:
    return Bell(valkey_server.url)


@pytest.fixture
def redis(valkey_server: Valkey) -> Redis:
    return Redis.from_url(valkey_server.url)


@pytest.fixture
def worker(valkey_server: Valkey, tmp_path: Path) -> Iterator[Worker]:
    with worker_process(valkey_server.url, tmp_path) as worker:
        yield worker


def rung(worker: Worker, bell: Bell) -> bool:
    """Ring, and wait for the drain's end."""
    before = worker.drains("ended")
    wait_until(lambda: bell.ring(force=True))
    wait_until(lambda: worker.drains("ended") > before)
    return worker.process.poll() is None


def test_a_ring_is_one_drain(worker: Worker, bell: Bell) -> None:
    assert rung(worker, bell)

    time.sleep(0.3)
    assert (worker.drains("begun"), worker.drains("ended")) == (1, 1)


def test_a_thousand_rings_while_one_waits_are_one_drain(valkey_server: Valkey, tmp_path: Path, bell: Bell) -> None:
    for _ in range(1000):
        bell.ring()

    with worker_process(valkey_server.url, tmp_path) as worker:
        wait_until(lambda: worker.drains("ended") == 1)
        time.sleep(0.5)

        assert worker.drains() == 1


def test_rings_during_a_drain_are_one_more_drain(worker: Worker, bell: Bell) -> None:
    with worker.held():
        bell.ring()
        wait_until(lambda: worker.drains() == 1)
        for _ in range(1000):
            bell.ring()

    wait_until(lambda: worker.drains("ended") == 2)
    time.sleep(0.3)
    assert worker.drains() == 2


def test_two_workers_drain_at_the_same_time(valkey_server: Valkey, tmp_path: Path, worker: Worker, bell: Bell) -> None:
    (tmp_path / "other").mkdir()
    with worker_process(valkey_server.url, tmp_path / "other") as other, worker.held(), other.held():
        bell.ring()
        wait_until(lambda: worker.drains() + other.drains() == 1)
        bell.ring()
        wait_until(lambda: worker.drains() == other.drains() == 1)


def test_a_worker_for_some_kinds_leaves_the_bell_to_the_others_and_looks_by_itself(
    valkey_server: Valkey, tmp_path: Path, bell: Bell, redis: Redis
) -> None:
    bell.ring()

    with worker_process(valkey_server.url, tmp_path, kinds=1) as special:
        wait_until(lambda: special.drains("ended") >= 1)

        assert redis.llen(KEY) == 1


def test_rq_info_sees_the_worker_also_after_a_flush(valkey_server: Valkey, worker: Worker, bell: Bell, redis: Redis) -> None:
    assert rung(worker, bell)
    valkey_server.flush()
    assert rung(worker, bell)

    wait_until(lambda: len(PlainWorker.all(connection=redis)) == 1)
    seen = PlainWorker.all(connection=redis)[0]
    assert (seen.pid, seen.queue_names()) == (worker.process.pid, ["work"])

    worker.process.terminate()
    assert worker.ends() == 0
    assert PlainWorker.all(connection=redis) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_waits_for_the_running_drain(worker: Worker, bell: Bell, number: signal.Signals) -> None:
    with worker.held():
        bell.ring()
        wait_until(lambda: worker.drains() == 1)
        worker.process.send_signal(number)
        wait_until(lambda: worker.drains("stop") == 1)
        worker.process.send_signal(number)  # an impatient second one changes nothing
        time.sleep(1.5)
        assert worker.process.poll() is None

    assert worker.ends() == 0
    assert (worker.drains("ended"), worker.drains("stop")) == (1, 1)


def test_an_idle_worker_stops_at_once(worker: Worker) -> None:
    began = time.monotonic()
    worker.process.terminate()

    assert worker.ends() == 0
    assert time.monotonic() - began < 3.0


def test_a_worker_stops_also_while_redis_is_away(valkey_server: Valkey, worker: Worker) -> None:
    valkey_server.kill()
    wait_until(lambda: any(line.startswith("redis.away") for line in worker.log))
    worker.process.terminate()

    assert worker.ends() == 0


def test_f43_a_failing_drain_ends_neither_the_worker_nor_says_why(worker: Worker, bell: Bell) -> None:
    (worker.directory / "fail").touch()
    bell.ring()
    wait_until(lambda: any(line.startswith("drain.failed") for line in worker.log))
    (worker.directory / "fail").unlink()

    assert rung(worker, bell)
    wait_until(lambda: any(line.startswith("trouble.over") for line in worker.log))
    assert not any("secret" in line for line in worker.log)  # A71: a database's error names its parameters


def test_f43_drains_that_keep_failing_ask_for_a_fresh_start(valkey_server: Valkey, tmp_path: Path) -> None:
    (tmp_path / "fail").touch()
    with worker_process(valkey_server.url, tmp_path, unrung=0.1, patience=1.0) as worker:
        assert worker.ends() == 1


def test_f49_a_worker_without_redis_drains_by_itself_and_then_asks_for_a_fresh_start(tmp_path: Path) -> None:
    began = time.monotonic()
    with worker_process(f"unix://{tmp_path}/none.sock", tmp_path, unrung=0.5, patience=3.0) as worker:
        code = worker.ends()

    assert code == 1
    assert 2.5 < time.monotonic() - began < 15.0
    assert worker.drains("ended") >= 2
    assert sum(line.startswith("redis.away") for line in worker.log) == 1


@pytest.mark.parametrize("times", [1, 5])
def test_f50_the_worker_outlives_a_killed_and_restarted_redis(valkey_server: Valkey, worker: Worker, bell: Bell, times: int) -> None:
    for _ in range(times):
        valkey_server.restart()

    assert rung(worker, bell)


def test_f50_the_worker_outlives_a_redis_that_hangs(valkey_server: Valkey, worker: Worker, bell: Bell) -> None:
    valkey_server.pause()
    wait_until(lambda: any(line.startswith("redis.away") for line in worker.log))
    valkey_server.resume()

    assert rung(worker, bell)


def test_f50_redis_killed_during_a_drain(valkey_server: Valkey, worker: Worker, bell: Bell) -> None:
    with worker.held():
        bell.ring()
        wait_until(lambda: worker.drains() == 1)
        valkey_server.kill()
    wait_until(lambda: worker.drains("ended") == 1)
    valkey_server.restart()

    assert rung(worker, bell)


def test_f51_flushed_at_any_moment(valkey_server: Valkey, worker: Worker, bell: Bell) -> None:
    with worker.held():
        bell.ring()
        wait_until(lambda: worker.drains() == 1)
        bell.ring()
        valkey_server.flush()

    assert rung(worker, bell)


def test_f52_a_full_redis_neither_ends_the_worker_nor_stops_its_own_looks(
    valkey_server: Valkey, tmp_path: Path, bell: Bell, redis: Redis
) -> None:
    with worker_process(valkey_server.url, tmp_path, unrung=0.5, patience=2.0) as worker:
        redis.config_set("maxmemory", 1)
        try:
            assert not bell.ring()
            time.sleep(3.0)
            drained = worker.drains("ended")
        finally:
            redis.config_set("maxmemory", 0)

        assert drained >= 2
        assert rung(worker, bell)


def test_f53_a_restored_snapshot_brings_back_a_done_job_and_that_is_an_empty_drain(tmp_path: Path) -> None:
    embedded = Embedded(tmp_path / "data")
    command, bell = embedded.child().command, Bell(embedded.url)
    with subprocess.Popen(command) as server:
        wait_until(embedded.answers)
        bell.ring()
        redis = Redis.from_url(embedded.url)
        redis.save()
        assert redis.lpop(KEY)  # worked off since
        server.kill()

    with subprocess.Popen(command) as server, worker_process(embedded.url, tmp_path) as worker:
        wait_until(lambda: worker.drains("ended") == 1)
        assert rung(worker, bell)
        assert worker.drains() == 2
        server.kill()


def test_f55_a_worker_killed_in_a_drain_leaves_nothing_that_the_next_one_trips_over(
    valkey_server: Valkey, tmp_path: Path, bell: Bell, redis: Redis
) -> None:
    with worker_process(valkey_server.url, tmp_path) as killed, killed.held():
        bell.ring()
        wait_until(lambda: killed.drains() == 1)
        killed.process.kill()
        killed.ends()

    assert redis.llen(KEY) == 0
    with worker_process(valkey_server.url, tmp_path) as worker:
        assert rung(worker, bell)


def test_f57_a_worker_that_slept_wakes_up_and_serves(worker: Worker, bell: Bell) -> None:
    worker.process.send_signal(signal.SIGSTOP)
    time.sleep(1.5)
    bell.ring()
    worker.process.send_signal(signal.SIGCONT)

    wait_until(lambda: worker.drains("ended") >= 1)
    assert rung(worker, bell)
