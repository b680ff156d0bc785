"""`python -m bench.naive simple|forking`: how it is often done, to compare with. One RQ job for each hint, and no bell, lease or batch."""

from __future__ import annotations

import os
import sys
import time
from functools import cache

from redis import Redis
from rq import Queue, SimpleWorker, Worker
from rq.serializers import JSONSerializer
from sqlalchemy import select

from connector import wiring
from connector.config import Settings
from connector.db import Database
from connector.domain.orders import OrderRef
from connector.domain.platform import Store
from connector.models import Shop
from connector.secrets import Vault
from connector.services import mirroring
from connector.services.shops import ShopKeys, keys_of

QUEUE = "one-by-one"
FUNCTION = "bench.naive.read_again"


def read_again(ref: str) -> None:
    """Read one order and keep it."""
    database, keys, store, vault = _site()
    with database.reading() as session:
        began = database.now(session)
    found = store.orders([OrderRef(ref)])
    with database.transaction() as session:
        mirroring.apply_all(session, keys, found, read_began=began, vault=vault, now=database.now(session))


@cache
def _site() -> tuple[Database, ShopKeys, Store, Vault]:
    settings = Settings.from_env()
    database = wiring.database(settings)
    with database.reading() as session:
        keys = keys_of(session, session.execute(select(Shop.id)).scalar_one())
    return database, keys, wiring.opener(settings)(keys), wiring.vault(settings)


def main(kind: str) -> None:
    """Work off what is there, and say how many seconds it took."""
    connection = Redis.from_url(os.environ["REDIS_URL"])
    queue = Queue(QUEUE, connection=connection, serializer=JSONSerializer)
    worker = (Worker if kind == "forking" else SimpleWorker)([queue], connection=connection, serializer=JSONSerializer)
    begun = time.perf_counter()
    worker.work(burst=True, logging_level="ERROR")
    sys.stdout.write(f"{time.perf_counter() - begun}\n")


if __name__ == "__main__":
    main(sys.argv[1])
