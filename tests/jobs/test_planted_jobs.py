"""A69: whoever can write to Redis can neither run anything in the worker, nor make it call anybody, nor stop it. F56: nor alarm it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest
from redis import Redis
from rq.command import send_kill_horse_command, send_shutdown_command, send_stop_job_command

from connector.bell import FUNCTION, RING, Bell
from jobs.worker import DrainJob
from tests.jobs.workers import (
    BITE,
    CALLBACKS,
    KEY,
    LONG_AGO,
    RIGHT,
    Fields,
    Worker,
    abandon,
    calling,
    http_server,
    keys,
    pickled,
    plant,
    still_serves,
    wait_until,
    worker_process,
)
from tests.servers import Valkey


@pytest.fixture
def redis(valkey_server: Valkey) -> Redis:
    return Redis.from_url(valkey_server.url)


@pytest.fixture
def worker(valkey_server: Valkey, tmp_path: Path) -> Iterator[Worker]:
    with worker_process(valkey_server.url, tmp_path) as worker:
        yield worker


FORGED: Final[Mapping[str, Fields]] = {
    "another function": {"data": calling(BITE)},
    "os.system": {"data": calling("os.system", "touch canary")},
    "a builtin": {"data": calling("exec", "import tests.jobs.canary")},
    "an argument": {"data": calling(FUNCTION, "x")},
    "a keyword": {"data": calling(FUNCTION, x=1)},
    "an instance": {"data": calling(FUNCTION, instance="x")},
    "a longer path": {"data": calling(FUNCTION + ".x")},
    "a pickle": {"data": pickled()},
    "a compressed pickle": {"data": zlib.compress(pickled())},
    "a pickle as result and meta": {"data": calling(BITE), "result": pickled(), "meta": pickled()},
    "no JSON": {"data": zlib.compress(b"\xff{")},
    "no data": {"status": "queued"},
    "empty data": {"data": b""},
    "8 MB of data": {"data": os.urandom(1 << 20) * 8},
    "a bomb": {"data": zlib.compress(b"[" * 200_000)},
    "callbacks too": {"data": calling(BITE), **CALLBACKS},
    "an unknown status": {"data": calling(BITE), "status": "exploded", "created_at": "yesterday", "timeout": "soon"},
    "100,000 fields": {"data": calling(BITE), **{f"field-{number}": number for number in range(100_000)}},
}


@pytest.mark.parametrize("fields", FORGED.values(), ids=FORGED.keys())
def test_a_forged_job_is_refused(worker: Worker, redis: Redis, fields: Fields) -> None:
    plant(redis, fields)

    assert still_serves(worker, redis)
    assert worker.drains() == 1
    if fields.get("data"):
        wait_until(lambda: any(line.startswith("job.refused") for line in worker.log))
    assert not any("canary" in line for line in worker.log)


EMBELLISHED: Final[Mapping[str, Fields]] = {
    "callbacks": CALLBACKS,
    "a result and meta that are pickles": {"result": pickled(), "meta": pickled()},
    "repeats": {"repeats_left": 1000, "repeat_intervals": "[0]"},
    "retries": {"retries_left": 1000, "retry_intervals": "[0]"},
    "a group": {"group_id": "group"},
    "dependencies": {"dependency_ids": '["other"]', "dependency_id": "other"},
    "a rate limit": {"rate_limit_key": "limit", "rate_limit_concurrency": 1},
    "a worker and times": {"worker_name": "other", "started_at": LONG_AGO, "ended_at": LONG_AGO, "enqueued_at": LONG_AGO},
    "nonsense": {"status": "exploded", "created_at": "yesterday", "webhooks": "{", "ttl": "x", "result_ttl": "x", b"\xff": b"\xff"},
}


@pytest.mark.parametrize("fields", EMBELLISHED.values(), ids=EMBELLISHED.keys())
def test_an_embellished_ring_is_one_plain_drain(worker: Worker, redis: Redis, fields: Fields) -> None:
    plant(redis, {"data": RIGHT, **fields})
    wait_until(lambda: worker.drains("ended") == 1)

    assert still_serves(worker, redis)
    assert worker.drains() == 2
    assert {key for key in keys(redis) if not key.startswith("rq:worker")} == {"rq:queues", "rq:job:planted", "rq:job:drain"}


def test_f56_a_planted_timeout_sets_no_alarm(worker: Worker, redis: Redis) -> None:
    with worker.held():
        plant(redis, {"data": RIGHT, "timeout": 1, **{f"{when}_callback_timeout": 1 for when in ("success", "failure", "stopped")}})
        wait_until(lambda: worker.drains() == 1)
        time.sleep(2.5)

    wait_until(lambda: worker.drains("ended") == 1)
    assert still_serves(worker, redis)


def test_a_webhook_calls_nobody(worker: Worker, redis: Redis) -> None:
    with http_server() as (address, requests):
        hooks = json.dumps([{"url": f"{address}/{status}", "job_status": status} for status in ("finished", "failed")])
        plant(redis, {"data": RIGHT, "webhooks": hooks}, job_id="right")
        plant(redis, {"data": calling(BITE), "webhooks": hooks}, job_id="wrong")
        (worker.directory / "fail").touch()
        plant(redis, {"data": RIGHT, "webhooks": hooks}, job_id="failing")
        wait_until(lambda: worker.drains() == 2)
        (worker.directory / "fail").unlink()

        assert still_serves(worker, redis)
    assert requests == []


def test_dependents_and_waiting_jobs_stay_where_they_are(worker: Worker, redis: Redis) -> None:
    child: Fields = {"origin": "work", "data": calling(BITE), "created_at": LONG_AGO}
    for name, status in {"deferred": "deferred", "ready": "ready_to_enqueue", "limited": "rate_limited", "scheduled": "scheduled"}.items():
        redis.hset(f"rq:job:{name}", mapping={**child, "status": status, "rate_limit_key": "limit", "rate_limit_concurrency": 9})
    redis.sadd(f"rq:job:{RING}:dependents", "deferred")
    redis.zadd("rq:deferred:work", {"deferred": 1})
    redis.zadd("rq:ready:work", {"ready": 1})
    redis.zadd("rq:scheduled:work", {"scheduled": 1})
    redis.sadd("rq:rl-keys", "limit")
    redis.hset("rq:rl:limit", "concurrency", 9)
    redis.zadd("rq:rl:limit:rate_limited", {"limited": 1})
    redis.zadd("rq:rl:limit:allowed", {RING: 1})

    assert still_serves(worker, redis)

    assert redis.llen(KEY) == 0
    assert {redis.hget(f"rq:job:{name}", "status") for name in ("deferred", "ready", "limited", "scheduled")} == {
        *(b"deferred", b"ready_to_enqueue", b"rate_limited", b"scheduled")
    }


def test_an_abandoned_job_is_left_alone(valkey_server: Valkey, tmp_path: Path, redis: Redis) -> None:
    abandon(redis)

    with worker_process(valkey_server.url, tmp_path) as worker:
        assert still_serves(worker, redis)

    assert redis.hget("rq:job:abandoned", "status") == b"started"


@pytest.mark.parametrize(
    "job_id", [b"\xff\xfe", b"", b"drain\n", b"drain:1", b"../drain", b"x" * 10_000_000, b"*", b"{}", b"drain\x00", "dr\u0430in".encode()]
)
def test_a_job_id_that_is_none_is_refused(worker: Worker, redis: Redis, job_id: bytes) -> None:
    redis.hset(b"rq:job:" + job_id, mapping={"data": RIGHT})
    redis.rpush(KEY, job_id)

    assert still_serves(worker, redis)
    assert worker.drains() == 1


def test_an_id_without_a_job_is_passed_over(worker: Worker, redis: Redis) -> None:
    redis.rpush(KEY, "nowhere")

    assert still_serves(worker, redis)


@pytest.mark.parametrize(
    "key", ["rq:job:planted", "rq:job:drain", KEY, "rq:workers", "rq:workers:work", "rq:queues", KEY + ":intermediate"]
)
def test_keys_of_another_type_do_not_stop_it(worker: Worker, redis: Redis, key: str) -> None:
    redis.delete(key)
    redis.set(key, "planted")
    if key.startswith("rq:job:"):
        redis.rpush(KEY, key.removeprefix("rq:job:"))

    if key == "rq:queues":
        time.sleep(1.5)  # nobody can ring, since RQ notes its queues there; the worker lives on and its own looks go on
        assert worker.process.poll() is None
        redis.delete(key)
    assert still_serves(worker, redis)


def test_the_worker_s_own_key_of_another_type_does_not_stop_it(worker: Worker, redis: Redis) -> None:
    assert still_serves(worker, redis)
    for key in redis.smembers("rq:workers"):
        redis.delete(key)
        redis.lpush(key, "planted")

    assert still_serves(worker, redis)
    worker.process.terminate()
    assert worker.ends() == 0


def test_a_flood_of_junk_delays_neither_a_ring_nor_fills_the_log(worker: Worker, redis: Redis) -> None:
    for _ in range(20):
        redis.rpush(KEY, *[os.urandom(16) for _ in range(5000)])
    bell = Bell(f"unix://{redis.connection_pool.connection_kwargs['path']}")

    began = time.monotonic()
    assert bell.ring(force=True)
    wait_until(lambda: worker.drains("ended") >= 1)

    assert time.monotonic() - began < 2.0
    assert sum(line.startswith("job.refused") for line in worker.log) <= 2


def publish_junk(redis: Redis, name: str) -> None:
    redis.publish(f"rq:pubsub:{name}", b"\xff")


COMMANDS: dict[str, Callable[[Redis, str], None]] = {
    "shutdown": send_shutdown_command,
    "kill-horse": send_kill_horse_command,
    "stop-job": lambda redis, _name: send_stop_job_command(redis, RING, serializer="json"),
    "junk": publish_junk,
}


@pytest.mark.parametrize("command", COMMANDS)
def test_published_commands_reach_nobody(worker: Worker, redis: Redis, command: str) -> None:
    with worker.held():
        Bell(f"unix://{redis.connection_pool.connection_kwargs['path']}").ring()
        wait_until(lambda: worker.drains() == 1)
        (name,) = (key.decode().removeprefix("rq:worker:") for key in redis.smembers("rq:workers") if isinstance(key, bytes))
        redis.hset(f"rq:job:{RING}", mapping={"worker_name": name, "data": RIGHT})
        COMMANDS[command](redis, name)
        assert redis.pubsub_channels() == []
        time.sleep(0.3)

    wait_until(lambda: worker.drains("ended") == 1)
    assert not worker.drains("stop")
    assert still_serves(worker, redis)


def test_a_planted_suspension_does_not_suspend_it(worker: Worker, redis: Redis) -> None:
    redis.set("rq:suspended", 1)
    redis.set("rq:clean_registries:work", 1)

    assert still_serves(worker, redis)


PLAIN = """
import sys
from redis import Redis
from rq import SimpleWorker
from rq.serializers import JSONSerializer
sys.modules["jobs.drain"] = module = type(sys)("jobs.drain")
module.run = lambda: None
serializer = JSONSerializer if sys.argv[2] == "json" else None
SimpleWorker(["work"], connection=Redis.from_url(sys.argv[1]), serializer=serializer).work(burst=True)
"""


@pytest.mark.parametrize("case", ["function", "callback", "pickle", "result", "abandoned", "webhook"])
def test_the_same_plants_bite_a_plain_rq_worker(valkey_server: Valkey, tmp_path: Path, redis: Redis, case: str) -> None:
    """So that the tests above cannot pass because the canary is dead."""
    serializer = "json"
    with http_server() as (address, requests):
        match case:
            case "function":
                plant(redis, {"data": calling(BITE)})
            case "callback":
                plant(redis, {"data": RIGHT, **CALLBACKS})
            case "pickle":
                plant(redis, {"data": pickled()})
                serializer = "pickle"
            case "result":
                plant(redis, {"data": RIGHT, "result": pickled()})
                serializer = "pickle"
            case "abandoned":
                abandon(redis)
            case _:
                plant(redis, {"data": RIGHT, "webhooks": json.dumps([{"url": address, "job_status": "finished"}])})
        environ = os.environ | {"CANARY": str(tmp_path / "canary")}
        subprocess.run(
            [sys.executable, "-c", PLAIN, valkey_server.url, serializer], env=environ, capture_output=True, timeout=60, check=False
        )

    assert bool(requests) if case == "webhook" else "called" in (tmp_path / "canary").read_text(encoding="ascii")


def test_what_is_too_long_is_not_even_read(redis: Redis) -> None:
    redis.hset("rq:job:long", "data", b"x" * 10_000)
    redis.config_resetstat()

    assert not DrainJob.fetch("long", connection=redis).__dict__["accepted"]

    assert {"cmdstat_hget", "cmdstat_hgetall"}.isdisjoint(redis.info("commandstats"))


def test_a_drain_job_carries_no_function_even_outside_our_worker(redis: Redis) -> None:
    redis.hset("rq:job:drain", mapping={"data": RIGHT, "result": pickled(), "meta": pickled(), **CALLBACKS})

    job = DrainJob.fetch("drain", connection=redis)

    assert isinstance(job, DrainJob)
    assert job.accepted
    job.perform()
    assert not any([job.args, job.kwargs, job.instance, job.webhooks, job.meta])
    assert not any([job.success_callback, job.failure_callback, job.stopped_callback])
