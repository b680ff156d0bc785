"""`python -m bench.shop ORDERS`: a simulated WooCommerce shop in a process of its own.

It writes its address and keys in one line. Each line that it then reads is a question: `asked` (how many requests it has had, and forget
them) or `complete N` (order N is completed).
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

from adapters.simulators.woocommerce import WooShop
from bench.deliveries import FIRST_ORDER, order
from bench.stage import ROOT


@dataclass(slots=True)
class Shop:
    """The other end."""

    credentials: Mapping[str, str]
    _into: IO[str]
    _from: IO[str]

    def asked(self) -> int:
        """How many requests it has had since this was asked last."""
        return int(self._ask("asked"))

    def complete(self, ref: int) -> None:
        """The order is completed over there."""
        self._ask(f"complete {ref}")

    def _ask(self, question: str) -> Any:  # noqa: ANN401 - JSON
        self._into.write(question + "\n")
        self._into.flush()
        return json.loads(self._from.readline())


@contextmanager
def shop(orders: int) -> Iterator[Shop]:
    """A shop with so many orders for the block."""
    command = (sys.executable, "-m", "bench.shop", str(orders))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:  # noqa: S603 - ours
        assert process.stdin
        assert process.stdout
        try:
            yield Shop(json.loads(process.stdout.readline()), process.stdin, process.stdout)
        finally:
            process.stdin.close()
            process.wait(30)


def main(orders: int) -> None:
    """Serve until the standard input ends."""
    far = WooShop()
    for ref in range(FIRST_ORDER, FIRST_ORDER + orders):
        far.put(order(ref))
    with far.serving() as url:
        key, secret = far.add_key()
        _say({"url": url, "consumer_key": key, "consumer_secret": secret})
        for line in sys.stdin:
            match line.split():
                case ["asked"]:
                    count = len(far.requests)
                    del far.requests[:count]
                    _say(count)
                case ["complete", which]:
                    far.complete(int(which))
                    _say(None)
    far.close()


def _say(what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
