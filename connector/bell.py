"""The doorbell: says that the database holds due work, and nothing else.

RQ carries one job without arguments, under one id. Popping it is what clears it, so there is no flag beside it that a crash could leave
behind. Any ring may be lost without harm: the clock rings again for what is due, and a worker looks now and then without being rung.
"""

from __future__ import annotations

import logging
import time
from functools import cached_property
from typing import TYPE_CHECKING, Final

from redis import Redis
from redis.exceptions import RedisError

if TYPE_CHECKING:
    from rq import Queue

FUNCTION: Final = "jobs.drain.run"  # by its path: the connector never imports jobs
QUEUE: Final = "work"
RING: Final = "drain"  # the id of the only job

_PATIENCE: Final = 0.5  # seconds that a web request gives to a doorbell
_PAUSE: Final = 2.0  # seconds without a try after a failed one: a dead Redis must not slow every commit

log = logging.getLogger(__name__)


def connect(redis_url: str, *, patience: float) -> Redis:
    """A client that gives up after `patience` seconds a command. `from_url` makes one that never retries by itself, unlike `Redis()`.

    Raises:
        ValueError: if the address is none.
    """
    return Redis.from_url(redis_url, socket_timeout=patience, socket_connect_timeout=min(patience, 2.0))


class Bell:
    """One process's way to ring. Safe in threads and, as redis-py connects per process, across a fork."""

    def __init__(self, redis_url: str) -> None:
        self._connection = connect(redis_url, patience=_PATIENCE)
        self._quiet_until = 0.0
        self._heard = True

    def ring(self, *, force: bool = False) -> bool:
        """See to it that one drain is waiting; True if one is. Never raises because of Redis, nor waits much longer than half a second.

        `force` is for the clock: it tries even right after a failure, and puts the job in order where its id lies in the queue but the rest
        of it was evicted or overwritten.
        """
        if not force and time.monotonic() < self._quiet_until:
            return False
        try:
            if force or self._connection.lpos(self._queue.key, RING) is None:
                self._enqueue()
        except (RedisError, OSError) as trouble:
            self._quiet_until = time.monotonic() + _PAUSE
            self._note(heard=False, reason=type(trouble).__name__)
            return False
        self._note(heard=True)
        return True

    def clear(self) -> bool:
        """Take back a waiting ring, for a drain that is about to look at every kind of work. It only saves an empty drain.

        A drain that serves some kinds only must not call it: the ring may be for the others.
        """
        try:
            self._connection.lrem(self._queue.key, 0, RING)
        except (RedisError, OSError):
            return False
        return True

    def _enqueue(self) -> None:
        """One transaction, so that it cannot be left half done, and whatever stood under the id is gone."""
        queue = self._queue
        job = queue.create_job(FUNCTION, job_id=RING, description=FUNCTION, timeout=-1, result_ttl=60, failure_ttl=60)
        with self._connection.pipeline() as pipe:
            pipe.multi()
            pipe.unlink(job.key)
            pipe.lrem(queue.key, 0, RING)
            queue.enqueue_job(job, pipeline=pipe, at_front=True)  # in front of whatever else somebody put there
            pipe.execute()

    @cached_property
    def _queue(self) -> Queue:
        from rq import Queue  # noqa: PLC0415 - only a process that rings pays for it
        from rq.serializers import JSONSerializer  # noqa: PLC0415 - as above

        queue = Queue(QUEUE, connection=self._connection, serializer=JSONSerializer)
        queue.redis_server_version = (6, 2, 0)  # spares an INFO per connection; nothing here depends on it
        return queue

    def _note(self, *, heard: bool, reason: str = "") -> None:
        """One event when Redis goes away and one when it is back, not one per commit in between."""
        if heard == self._heard:
            return
        self._heard = heard
        if heard:
            log.info("bell.heard")
        else:
            log.warning("bell.unheard", extra={"reason": reason})
