"""The worker: waits for the doorbell and drains. It believes nothing that lies in Redis.

Whoever can write to Redis can plant anything there, and RQ 3.0 gives such a writer much: it imports and calls the function and the three
callbacks that a job names (the failure callback even of a job that never ran, in its maintenance), unpickles a job's result and meta when
it fetches it, sends its webhooks, sets an alarm that goes off in the middle of its work, and obeys published commands. So one field of a
job is read here and compared, nothing of it is ever called, and of RQ's worker only its entry in `rq info` is left.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from typing import Any, Final

from redis import Redis
from redis.exceptions import RedisError, ResponseError
from rq import SimpleWorker, worker_registration
from rq.exceptions import NoSuchJobError
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.utils import now
from rq.worker import WorkerStatus

from connector.bell import FUNCTION, QUEUE, connect
from connector.config import Settings
from connector.signals import StopSignals

_LONGEST: Final = 256  # bytes of an id or of a job's data; ours are 5 and 41
_PRESENCE: Final = 20.0  # seconds between two entries in `rq info`
_BACKOFF: Final = (0.2, 0.5, 1.0, 2.0, 4.0)  # seconds; the last goes on

log = logging.getLogger(__name__)


class DrainJob(Job):
    """A job as it lies in Redis: the doorbell's, or refused. It carries no function; what is done about it is the worker's business."""

    def __init__(self, id: str | None = None, connection: Redis | None = None, serializer: object = None) -> None:  # noqa: A002, ARG002 - RQ's
        super().__init__(id, connection, JSONSerializer)
        self.accepted = False
        self.func_name, self.instance, self.args, self.kwargs = "refused", None, (), {}  # known here, so never read from Redis

    def refresh(self) -> None:
        """Read the one field that matters, if it has a sane size. Callbacks, webhooks, retries and the rest keep their empty defaults."""
        length = self.connection.hstrlen(self.key, "data")
        if not length:
            raise NoSuchJobError
        self.restore({"data": self.connection.hget(self.key, "data") if length <= _LONGEST else b""})

    def restore(self, raw_data: Mapping[str | bytes, object]) -> None:
        data = raw_data.get("data") or raw_data.get(b"data")
        self.accepted = isinstance(data, bytes) and _is_ours(data)

    def perform(self) -> None:
        """Nothing, under whatever worker."""


def _name(job_id: bytes | str) -> str:
    """A job's id, as far as it may be one; RQ checks its characters. ValueError otherwise."""
    name = job_id.decode("ascii") if isinstance(job_id, bytes) else job_id
    if not 0 < len(name) <= _LONGEST:
        raise ValueError
    return name


def _is_ours(data: bytes) -> bool:
    try:
        text = zlib.decompressobj().decompress(data, _LONGEST)
        found = json.loads(text)
    except (zlib.error, ValueError):
        return False
    return bool(found == [FUNCTION, None, [], {}])


class Trouble:
    """How long something has been failing. Says so once."""

    def __init__(self, event: str) -> None:
        self._event = event
        self._since: float | None = None
        self._times = 0

    def over(self) -> None:
        if self._since is not None:
            log.info("trouble.over", extra={"trouble": self._event, "seconds": round(time.monotonic() - self._since, 1)})
        self._since, self._times = None, 0

    def goes_on(self, error: Exception) -> None:
        if self._since is None:
            self._since = time.monotonic()
            log.error(self._event, extra={"reason": type(error).__name__})  # a message may hold what a log must not
        self._times += 1

    @property
    def pause(self) -> float:
        return _BACKOFF[min(self._times, len(_BACKOFF)) - 1] if self._times else 0.0

    def lasted(self, seconds: float) -> bool:
        return self._since is not None and time.monotonic() - self._since >= seconds


class DrainWorker(SimpleWorker):
    """One process, one drain at a time, in its main thread: no fork, no alarm, no commands, no maintenance, no scheduler."""

    job_class = DrainJob

    def __init__(
        self,
        connection: Redis,
        drain: Callable[[], object],
        stop: Callable[[], object],
        *,
        listens: bool = True,
        unrung: float = 30.0,
        patience: float = 60.0,
    ) -> None:
        """`listens=False` leaves the bell to others. Unrung, it drains every `unrung` seconds. `patience` seconds of trouble end it."""
        super().__init__(
            [QUEUE], connection=connection, job_class=DrainJob, serializer=JSONSerializer, log_job_description=False, prepare_for_work=False
        )
        self.hostname, self.pid, self.ip_address = socket.gethostname(), os.getpid(), "unknown"
        self.birth_date = self.last_heartbeat = now()
        self._drain, self._stop_drain = drain, stop
        self._listens, self._unrung, self._patience = listens, unrung, patience
        self._stopping = threading.Event()
        self._drained_at = time.monotonic()
        self._shown_at = float("-inf")
        self._refused, self._refusal_told_at = 0, float("-inf")
        self._redis, self._drains = Trouble("redis.away"), Trouble("drain.failed")

    def _set_connection(self, connection: Redis) -> Redis:
        return connection  # RQ would let a dead network hold it for seven minutes

    def work(self, *_args: object, **_options: object) -> bool:
        """Serve until asked to stop (True), or until Redis has stayed away, or drains have failed, for too long (False)."""
        with StopSignals() as signals:
            signals.listen(self._stop)
            log.info("worker.started", extra={"worker": self.name})
            well = self._serve()
            log.info("worker.stopped", extra={"worker": self.name, "well": well})
        self._leave()
        return well

    def _stop(self) -> None:
        self._stopping.set()
        self._stop_drain()

    def _serve(self) -> bool:
        while not self._stopping.is_set():
            rung = self._rung() if self._listens else self._stopping.wait(1.0)
            if self._stopping.is_set():
                break
            if rung or time.monotonic() - self._drained_at >= self._unrung:
                self._drain_now()
            if self._redis.lasted(self._patience) or self._drains.lasted(self._patience):
                return False
            self._stopping.wait(max(self._redis.pause, self._drains.pause))
        return True

    def _rung(self) -> bool:
        """Whether somebody rang within a second. BLPOP, not RQ's BLMOVE: it works in a full Redis too and leaves nothing to clean up."""
        try:
            popped = self.connection.blpop([self.queues[0].key], timeout=1)
            rung = popped is not None and self._accepts(popped[1])
            if time.monotonic() - self._shown_at >= _PRESENCE:
                self._show(WorkerStatus.IDLE)
        except ResponseError as error:
            if str(error).startswith("WRONGTYPE"):
                self._replace_queue()
            self._redis.goes_on(error)
            return False
        except (RedisError, OSError) as error:
            self._redis.goes_on(error)
            return False
        self._redis.over()
        return rung

    def _accepts(self, job_id: bytes | str) -> bool:
        try:
            job = DrainJob(_name(job_id), self.connection)
            job.refresh()
        except NoSuchJobError:
            return False  # evicted; the clock puts it in order
        except (ValueError, ResponseError) as error:
            if isinstance(error, ResponseError) and not str(error).startswith("WRONGTYPE"):
                raise
            self._refuse()
            return False
        if not job.accepted:
            self._refuse()
        return job.accepted

    def _refuse(self) -> None:
        """Counted, and told at most every ten seconds: a flood of junk must not become a flood of logs. Nothing of it is repeated."""
        self._refused += 1
        if time.monotonic() - self._refusal_told_at >= 10.0:
            log.warning("job.refused", extra={"count": self._refused})
            self._refused, self._refusal_told_at = 0, time.monotonic()

    def _replace_queue(self) -> None:
        try:
            self.connection.unlink(self.queues[0].key)
        except (RedisError, OSError):
            return  # the next round meets it again
        log.warning("queue.replaced")

    def _drain_now(self) -> None:
        self._show(WorkerStatus.BUSY)
        try:
            self._drain()
        except Exception as error:  # noqa: BLE001 - the database may be away: the worker stays, and tries again
            self._drains.goes_on(error)
        else:
            self._drains.over()
        self._drained_at = time.monotonic()

    def _show(self, state: WorkerStatus) -> None:
        """For `rq info`; best effort, and written whole each time, since Redis may have been emptied."""
        self._shown_at = time.monotonic() if state is WorkerStatus.IDLE else float("-inf")
        self.last_heartbeat = now()
        entry: dict[Any, Any] = {**self.serialize(), "state": state.value}
        try:
            with self.connection.pipeline() as pipe:
                pipe.hset(self.key, mapping=entry)
                pipe.expire(self.key, 600)
                worker_registration.register(self, pipe)
                pipe.execute()
        except (RedisError, OSError):
            log.debug("worker.unseen")

    def _leave(self) -> None:
        try:
            self.register_death()  # type: ignore[no-untyped-call]  # RQ's
        except (RedisError, OSError):
            log.debug("worker.unseen")


def main(settings: Settings, drain: Callable[[], object], stop: Callable[[], object]) -> int:
    """Work until told to stop: 0. A result of 1 asks the supervisor for a fresh start."""
    general = settings.kinds is None  # a worker for some kinds looks every two seconds: a ring that it took might be for another
    worker = DrainWorker(connect(settings.redis_url, patience=5.0), drain, stop, listens=general, unrung=30.0 if general else 2.0)
    return 0 if worker.work() else 1
