"""The doorbell against a real Valkey: faults F49 to F53 of the ringing side, A70, A71."""

from __future__ import annotations

import logging
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from redis import Redis
from rq import Queue
from rq.job import Job
from rq.serializers import JSONSerializer

from connector.bell import FUNCTION, QUEUE, RING, Bell
from tests.servers import Valkey

KEY = f"rq:queue:{QUEUE}"


@pytest.fixture
def redis(valkey_server: Valkey) -> Redis:
    return Redis.from_url(valkey_server.url)


@pytest.fixture
def bell(valkey_server: Valkey) -> Bell:
    return Bell(valkey_server.url)


def waiting(redis: Redis) -> list[bytes]:
    return [entry for entry in redis.lrange(KEY, 0, -1) if isinstance(entry, bytes)]


def test_a_ring_is_one_rq_job_without_arguments(bell: Bell, redis: Redis) -> None:
    assert bell.ring()

    queue = Queue(QUEUE, connection=redis, serializer=JSONSerializer)
    job = Job.fetch(RING, connection=redis, serializer=JSONSerializer)
    assert queue.job_ids == [RING]
    assert (job.func_name, list(job.args), job.kwargs, job.instance) == (FUNCTION, [], {}, None)
    assert (job.description, job.timeout, job.result_ttl, job.failure_ttl) == (FUNCTION, -1, 60, 60)
    assert not any([job.retries_left, job.repeats_left, job.webhooks, job.meta, job.success_callback, job.failure_callback])


def test_a_thousand_rings_while_one_waits_are_one_job(bell: Bell, redis: Redis) -> None:
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: bell.ring(), range(1000)))

    assert all(answers)
    assert waiting(redis) == [RING.encode()]


def test_forced_rings_do_not_pile_up_either(bell: Bell, redis: Redis) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: bell.ring(force=True), range(200)))

    assert waiting(redis) == [RING.encode()]


def test_popping_the_ring_clears_the_bell(bell: Bell, redis: Redis) -> None:
    bell.ring()
    assert redis.lpop(KEY) == RING.encode()

    bell.ring()

    assert waiting(redis) == [RING.encode()]


def test_clear_takes_a_waiting_ring_back(bell: Bell, redis: Redis) -> None:
    bell.ring()

    assert bell.clear()
    assert bell.clear()

    assert waiting(redis) == []


def test_the_ring_goes_before_what_others_put_into_the_queue(bell: Bell, redis: Redis) -> None:
    redis.rpush(KEY, *[f"junk-{number}" for number in range(1000)])

    bell.ring()

    assert redis.lindex(KEY, 0) == RING.encode()


def test_a_forced_ring_restores_an_evicted_job_and_wipes_an_embellished_one(bell: Bell, redis: Redis) -> None:
    bell.ring()
    redis.delete(f"rq:job:{RING}")
    redis.hset(f"rq:job:{RING}", mapping={"success_callback_name": "os.system", "repeats_left": 9, "planted": 1})

    assert bell.ring(force=True)

    assert redis.hmget(f"rq:job:{RING}", ["success_callback_name", "repeats_left", "planted"]) == [b"", None, None]
    assert Job.fetch(RING, connection=redis, serializer=JSONSerializer).func_name == FUNCTION


def test_f49_redis_down_is_one_event_and_no_delay(valkey_server: Valkey, bell: Bell, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    bell.ring()
    valkey_server.kill()

    began = time.monotonic()
    answers = [bell.ring() for _ in range(1000)]
    forced, cleared = bell.ring(force=True), bell.clear()
    took = time.monotonic() - began
    valkey_server.restart()
    heard = bell.ring(force=True)

    assert not any([*answers, forced, cleared])
    assert took < 1.0
    assert heard
    assert [record.getMessage() for record in caplog.records if record.name == "connector.bell"] == ["bell.unheard", "bell.heard"]


def test_f49_a_redis_that_hangs_costs_half_a_second_once(valkey_server: Valkey, bell: Bell) -> None:
    bell.ring()
    valkey_server.pause()

    began = time.monotonic()
    answers = [bell.ring() for _ in range(100)]
    took = time.monotonic() - began
    valkey_server.resume()

    assert not any(answers)
    assert 0.4 < took < 20  # not 100 times half a second


def test_f49_after_a_pause_the_bell_tries_again_by_itself(valkey_server: Valkey, bell: Bell) -> None:
    valkey_server.kill()
    assert not bell.ring()
    valkey_server.restart()

    until = time.monotonic() + 5.0
    while not bell.ring() and time.monotonic() < until:
        time.sleep(0.05)

    assert bell.ring()


def test_f50_a_restarted_redis_is_rung_at_once(valkey_server: Valkey, bell: Bell, redis: Redis) -> None:
    bell.ring()

    valkey_server.restart()

    assert bell.ring()
    assert waiting(redis) == [RING.encode()]


def test_f51_after_a_flush_the_next_ring_is_a_whole_job(valkey_server: Valkey, bell: Bell, redis: Redis) -> None:
    bell.ring()

    valkey_server.flush()

    assert bell.ring()
    assert waiting(redis) == [RING.encode()]
    assert redis.exists(f"rq:job:{RING}")


def test_f52_a_full_redis_is_no_error(bell: Bell, redis: Redis, caplog: pytest.LogCaptureFixture) -> None:
    redis.config_set("maxmemory", 1)
    try:
        full = bell.ring()
    finally:
        redis.config_set("maxmemory", 0)

    assert not full
    assert caplog.records[-1].__dict__["reason"] == "OutOfMemoryError"
    assert waiting(redis) == []
    assert bell.ring(force=True)


def test_f54_a_read_only_replica_is_no_error(bell: Bell, redis: Redis) -> None:
    redis.slaveof("127.0.0.1", 1)
    try:
        assert not bell.ring()
    finally:
        redis.slaveof()

    assert bell.ring(force=True)


def test_a_queue_of_another_type_is_no_error(bell: Bell, redis: Redis) -> None:
    redis.set(KEY, "planted")

    assert not bell.ring()


RINGER = """
import sys
from connector.bell import Bell
bell = Bell(sys.argv[1])
print("ready", flush=True)
while True:
    bell.ring(force=True)
    bell.clear()
"""


def test_f50_a_process_killed_while_it_rings_leaves_all_or_nothing(valkey_server: Valkey, redis: Redis) -> None:
    chance = random.Random(50)  # noqa: S311 - a schedule, not a secret
    for _ in range(10):
        with subprocess.Popen([sys.executable, "-c", RINGER, valkey_server.url], stdout=subprocess.PIPE) as ringer:
            assert ringer.stdout
            ringer.stdout.readline()
            time.sleep(chance.uniform(0.0, 0.03))
            ringer.kill()

        assert waiting(redis) in ([], [RING.encode()])
        assert not waiting(redis) or redis.exists(f"rq:job:{RING}")
    assert Bell(valkey_server.url).ring()


FORKER = """
import os, sys
from connector.bell import Bell
bell = Bell(sys.argv[1])
assert bell.ring()
children = []
for _ in range(4):
    if not (child := os.fork()):
        os._exit(0 if all(bell.ring(force=True) for _ in range(200)) else 1)
    children.append(child)
assert all(bell.ring(force=True) for _ in range(200))
assert all(os.waitpid(child, 0)[1] == 0 for child in children)
"""


def test_forked_processes_ring_over_connections_of_their_own(valkey_server: Valkey, redis: Redis) -> None:
    subprocess.run([sys.executable, "-c", FORKER, valkey_server.url], check=True, timeout=60)

    assert waiting(redis) == [RING.encode()]


def test_the_bell_imports_neither_rq_nor_jobs() -> None:
    check = "import sys, connector.bell; sys.exit(any(name.split('.')[0] in ('rq', 'jobs') for name in sys.modules))"

    subprocess.run([sys.executable, "-c", check], check=True, timeout=60)


def test_a71_the_address_of_redis_stays_out_of_logs_and_reprs(caplog: pytest.LogCaptureFixture) -> None:
    bell = Bell("redis://:hunter2@127.0.0.1:1/0")

    assert not bell.ring()

    assert "hunter2" not in repr(bell)
    assert [(record.getMessage(), record.__dict__["reason"]) for record in caplog.records] == [("bell.unheard", "ConnectionError")]


def test_an_address_that_is_none_fails_loudly() -> None:
    with pytest.raises(ValueError, match="redis://"):
        Bell("http://127.0.0.1")
