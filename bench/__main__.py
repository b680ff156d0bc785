"""`make bench`: one table from one run. Numbers are printed and judged by people; what must be true of any number ends this with 1."""

from __future__ import annotations

import argparse
import io
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from bench import drain, whole
from bench.intake import DENOMINATOR, LINES, Line, Untrue, measure
from bench.load import Answers
from bench.shop import Shop, shop
from bench.stage import Stage, stage

QUICK: Final = tuple(line for line in LINES if line.valkey and (line.database != "postgresql" or line.server == "granian"))[:-1]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of everything."""

    lines: Sequence[Line] = LINES
    rounds: int = 3
    seconds: float = 2.0
    hints: int = 2000
    forked: int = 60
    simple: int = 300
    effects: int = 5
    deliveries: int = 10_000
    orders: int = 2_500
    over: float = 10.0


def main() -> int:
    """Measure and print. 1 where a number means nothing."""
    parser = argparse.ArgumentParser(prog="make bench", description="Measure Retour on this machine.")
    parser.add_argument("--quick", action="store_true", help="one minute instead of five: enough to see that it runs")
    parser.add_argument("--part", choices=("intake", "work", "whole"), help="one part of it only")
    parser.add_argument("--rounds", type=int, default=0, help="interleaved rounds of the intake's lines")
    asked = parser.parse_args()
    plan = Plan(QUICK, 1, 0.8, 400, 12, 40, 1, 500, 125, 1.0) if asked.quick else Plan()
    plan = replace(plan, rounds=asked.rounds or plan.rounds)
    parts = (asked.part,) if asked.part else ("intake", "work", "whole")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # also into a file
    began = time.monotonic()
    try:
        with stage(postgres="intake" in parts) as here:
            _preface(here, plan)
            if "intake" in parts:
                _intake(here, plan)
            if "work" in parts or "whole" in parts:
                _rest(here, plan, parts)
    except Untrue as lie:
        print(f"\nUNTRUE: {lie}")
        return 1
    print(f"\n{time.monotonic() - began:.0f} seconds.")
    return 0


def fdatasync(here: Stage, times: int = 200) -> tuple[float, float]:
    """Median and 99th percentile of what the disk takes to keep 4 kB, in milliseconds."""
    took = []
    sync = getattr(os, "fdatasync", os.fsync)  # macOS has none
    with tempfile.TemporaryFile(dir=here.directory, buffering=0) as file:
        for _ in range(times):
            file.write(bytes(4096))
            begun = time.perf_counter()
            sync(file.fileno())
            took.append((time.perf_counter() - begun) * 1000)
    took.sort()
    return took[times // 2], took[int(times * 0.99)]


def _preface(here: Stage, plan: Plan) -> None:
    p50, p99 = fdatasync(here)
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    print(f"Python {platform.python_version()}, {os.cpu_count()} processors, load before it {load}")
    print(f"{plan.rounds} interleaved rounds of {plan.seconds:g} s for each line; medians")
    print(f"The disk keeps 4 kB (fdatasync) in {p50:.2f} ms; 99 of 100 times in {p99:.2f} ms\n")


def _intake(here: Stage, plan: Plan) -> None:
    found: dict[Line, list[Answers]] = {line: [] for line in plan.lines}
    for number in range(plan.rounds):
        for line in plan.lines:
            _progress(f"round {number + 1} of {plan.rounds}: {line.title}")
            found[line].append(measure(here, line, seconds=plan.seconds))
    _progress("")
    print(f"{'Deliveries of 8 to 25 kB, 8 connections':<48}{'kept/s':>9}{'× bare':>8}{'p50':>9}{'p99':>9}{'worst':>9}")
    for line in plan.lines:
        print(_row(line, found))
    kept = sum(each.kept for line, rounds in found.items() if line.database for each in rounds)
    sender = max(each.busy for rounds in found.values() for each in rounds)
    print(f"Every one of {kept:,} deliveries answered with 200 is a row. The sender took {sender:.0%} of one processor at most.")


def _row(line: Line, found: Mapping[Line, Sequence[Answers]]) -> str:
    """The median of the rounds; the ratio is the median of each round's own, so that a slow minute hits both sides of it."""
    rounds = found[line]
    ratio = statistics.median(ours.rate / bare.rate for ours, bare in zip(rounds, found[DENOMINATOR], strict=True))
    rate, p50, p99 = (statistics.median(values) for values in zip(*((each.rate, each.p50, each.p99) for each in rounds), strict=True))
    worst = max(each.worst for each in rounds)
    return f"  {line.title:<46}{rate:>9,.0f}{ratio:>8.2f}{p50:>6.1f} ms{p99:>6.1f} ms{worst:>6.0f} ms"


def _rest(here: Stage, plan: Plan, parts: Sequence[str]) -> None:
    _progress("the simulated shop opens")
    with shop(max(plan.orders, plan.hints // drain.PER_ORDER)) as far:
        here.shop = far.credentials
        if "work" in parts:
            _work(here, plan, far)
        if "whole" in parts:
            _whole(here, plan, far)


def _work(here: Stage, plan: Plan, far: Shop) -> None:
    _progress("the drain")
    ours = drain.drained(here, far, plan.hints)
    _progress("one RQ job for each hint")
    forked, simple = drain.one_by_one(here, far, plan.forked, forks=True), drain.one_by_one(here, far, plan.simple, forks=False)
    _progress("the bell")
    silent, ringing = drain.commits(here, plan.seconds * 2, plan.rounds)
    _progress("")
    print(f"\n{'Hints worked off, four of each order':<48}{'hints/s':>9}{'drain ×':>8}{'requests for 100 hints':>28}")
    for title, pace in {
        "the drain": ours,
        "one RQ job each, RQ's forking worker": forked,
        "one RQ job each, RQ's simple worker": simple,
    }.items():
        print(f"  {title:<46}{pace.rate:>9,.0f}{ours.rate / pace.rate:>8.1f}{pace.requests:>28.1f}")
    print("\nThe bell, one transaction after another, each with one row of work")
    print(f"  {silent:,.0f} commits/s without it, {ringing:,.0f} with one that waits to be heard: {1 - ringing / silent:.0%} slower")


def _whole(here: Stage, plan: Plan, far: Shop) -> None:
    _progress("retour run")
    with whole.embedded(here, far) as running:
        idle = whole.memory(running.pid)
        _progress("how soon a delivery takes effect")
        took = whole.effect(running, plan.effects)
        _progress("the burst")
        burst = whole.burst(running, plan.deliveries, plan.orders, plan.over)
        after = whole.memory(running.pid)
    _progress("")
    print("\nThe embedded default, `retour run`: SQLite, Valkey, web, worker, clock")
    print(f"  {sum(idle.values()) / 1e6:.0f} MB of memory (PSS) at rest, {sum(after.values()) / 1e6:.0f} MB after the burst:")
    print("  " + "; ".join(f"{name.rpartition(' ')[0]} {taken / 1e6:.0f}" for name, taken in idle.items()))
    print(f"  from a delivery to its order's row, idle: median {statistics.median(took):.1f} s, longest {max(took):.1f} s of {len(took)}")
    answers = burst.answers
    print(f"  {plan.deliveries:,} deliveries about {plan.orders:,} orders in {plan.over:g} s, in bursts, while a worker reads:")
    late = f"at worst {answers.worst / 1000:.1f} s after it was due (p50 {answers.p50:,.0f} ms, p99 {answers.p99:,.0f} ms)"
    print(f"    all answered with 200, {late}")
    print(f"    they became {burst.requests:,} requests to the shop; the last order was read after {burst.seconds:.0f} s")
    print(f"    one of {whole.REFUNDS} told of a refund and not of which order: together they asked for {burst.polls:,} polls")
    print("    no mailbox, address or telephone is left in any byte of any file, and no body in a row;")
    print(f"    {burst.left:,} ciphertexts (of bodies, credentials, snapshots) are left in the files, some in pages given free")


def _progress(what: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{what}")
        sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
