"""What the tests of the worker share: a worker process, and jobs as somebody with access to Redis could plant them."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from redis import Redis

from connector.bell import FUNCTION, QUEUE, Bell
from tests.jobs.canary import Pickled

KEY: Final = f"rq:queue:{QUEUE}"
BITE: Final = "tests.jobs.canary.bite"
RIGHT: Final = zlib.compress(json.dumps([FUNCTION, None, [], {}]).encode())

Fields = Mapping[Any, bytes | str | int]
LONG_AGO = "2020-01-01T00:00:00.000000Z"
CALLBACKS: Final[Fields] = {f"{when}_callback_name": BITE for when in ("success", "failure", "stopped")}


def wait_until(true: Callable[[], bool], *, seconds: float = 20.0) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.01)


def calling(function: str, *args: object, instance: object = None, **kwargs: object) -> bytes:
    """A job's data for RQ's JSON serializer."""
    return zlib.compress(json.dumps([function, instance, args, kwargs]).encode())


def pickled() -> bytes:
    """Whatever unpickles this calls the canary."""
    return pickle.dumps(Pickled())


def plant(redis: Redis, fields: Fields, *, job_id: str = "planted") -> None:
    """Put a job into the queue as RQ would have."""
    redis.hset(f"rq:job:{job_id}", mapping={"origin": QUEUE, "status": "queued", **fields})
    redis.lpush(KEY, job_id)


def keys(redis: Redis, pattern: str = "rq:*") -> set[str]:
    return {key.decode() if isinstance(key, bytes) else key for key in redis.keys(pattern)}


@dataclass
class Worker:
    """A worker process and what its drains noted."""

    directory: Path
    process: subprocess.Popen[str]
    log: list[str] = field(default_factory=list)

    def drains(self, word: str = "begun") -> int:
        path = self.directory / "drains"
        return path.read_text(encoding="ascii").split().count(word) if path.exists() else 0

    @contextmanager
    def held(self) -> Iterator[None]:
        """Drains go on while the block lasts."""
        (self.directory / "hold").touch()
        try:
            yield
        finally:
            (self.directory / "hold").unlink()

    def ends(self) -> int:
        """Its exit code."""
        return self.process.wait(30)


@contextmanager
def worker_process(url: str, directory: Path, **options: float) -> Iterator[Worker]:
    """A running worker; killed with the block. Options go to DrainWorker."""
    command = [sys.executable, "-m", "tests.jobs.worker_process", url, str(directory), json.dumps({"unrung": 3600.0} | options)]
    environ = os.environ | {"CANARY": str(directory / "canary")}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environ)
    worker = Worker(directory, process)

    def read() -> None:
        assert process.stdout
        worker.log.extend(process.stdout)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        wait_until(lambda: any(line.startswith("worker.started") for line in worker.log) or process.poll() is not None)
        yield worker
    finally:
        process.kill()
        process.wait()
        reader.join()
        assert process.stdout
        process.stdout.close()


def still_serves(worker: Worker, redis: Redis) -> bool:
    """Whether all that was planted is gone from the queue, nothing of it ran, and the same process answers a ring."""
    bell = Bell(f"unix://{redis.connection_pool.connection_kwargs['path']}")
    wait_until(lambda: redis.type(KEY) == b"none")
    before = worker.drains("ended")
    wait_until(lambda: bell.ring(force=True))
    wait_until(lambda: worker.drains("ended") > before)
    time.sleep(0.1)  # had something else been taken for a ring, its drain would be counted now
    wait_until(lambda: redis.type(KEY) == b"none" and worker.drains() == worker.drains("ended") + worker.drains("failed"))
    return worker.process.poll() is None and not worker.drains("alarmed") and not (worker.directory / "canary").exists()


def abandon(redis: Redis) -> None:
    """A job that looks as if a worker had died over it. RQ's maintenance calls its failure callback, at a worker's start."""
    job: Fields = {"origin": "work", "data": calling("no.such"), "status": "started", "created_at": LONG_AGO, **CALLBACKS}
    redis.hset("rq:job:abandoned", mapping=job)
    redis.zadd("rq:wip:work", {"abandoned:execution": 1})
    redis.rpush("rq:queue:work:intermediate", "abandoned")
    redis.set("rq:queue:work:intermediate:first_seen:abandoned", 1)


@contextmanager
def http_server() -> Iterator[tuple[str, list[str]]]:
    """A web server on this machine: its address, and the requests that it got."""
    got: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            got.append(self.path)
            self.send_response(200)
            self.end_headers()

        do_POST = do_GET  # noqa: N815 - http.server asks for the name

        def log_message(self, *_args: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", got
        finally:
            server.shutdown()
            thread.join()
