"""What neither ruff nor import-linter can see of the design's rules. Every check is itself tried on a sample that breaks the rule."""

from __future__ import annotations

import ast
import importlib
import io
import re
import sys
import tokenize
import tomllib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Final

import pytest
from packaging.requirements import Requirement
from sqlalchemy import Column, ForeignKey, ForeignKeyConstraint, Index, Integer, MetaData, PrimaryKeyConstraint, Table, UniqueConstraint

ROOT: Final = Path(__file__).resolve().parent.parent
CODE: Final = ("connector", "adapters", "jobs")

LONGEST_MODULE: Final = 450  # lines
LONGEST_FUNCTION: Final = 60  # lines


@dataclass(frozen=True)
class Source:
    """A Python file of ours."""

    path: str
    text: str

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(ast.parse(self.text, self.path)))

    def at(self, node: ast.expr | ast.stmt | ast.keyword | ast.alias, what: str) -> str:
        return f"{self.path}:{node.lineno}: {what}"


@cache
def sources() -> tuple[Source, ...]:
    """Every Python file of the three packages."""
    paths = sorted(path for package in CODE for path in (ROOT / package).rglob("*.py") if "node_modules" not in path.parts)
    return tuple(Source(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")) for path in paths)


# --- what may not be written


def hidden_commits(source: Source) -> Iterator[str]:
    """The only commit and the locks are in connector/db.py; `begin` commits too when its block ends."""
    for node in source.nodes:
        match node:
            case ast.Attribute(attr="commit" | "begin" | "with_for_update" as name):
                yield source.at(node, f".{name} belongs in connector/db.py")
            case ast.keyword(arg="with_for_update"):
                yield source.at(node, "with_for_update= belongs in connector/db.py")


def unsafe_calls(source: Source) -> Iterator[str]:
    """Nothing that turns bytes into code, gives a shell a string, or trusts any certificate."""
    for node in source.nodes:
        match node:
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                for name in (*(alias.name for alias in names), getattr(node, "module", None) or ""):
                    if "pickle" in name.lower():
                        yield source.at(node, f"{name}: what is read could run")
            case ast.Name(id=name) | ast.Attribute(attr=name) if "pickle" in name.lower():
                yield source.at(node, f"{name}: what is read could run")
            case ast.keyword(arg="shell", value=ast.Constant(value=True)):
                yield source.at(node, "shell=True: give the words one by one")
            case ast.Attribute(value=ast.Name(id="yaml"), attr="load" | "full_load" | "unsafe_load" as name):
                yield source.at(node, f"yaml.{name}: use safe_load")
            case ast.keyword(arg="verify", value=ast.Constant(value=False)):
                yield source.at(node, "verify=False: certificates are checked")
            case ast.Assign(targets=[ast.Attribute(attr="verify")], value=ast.Constant(value=False)):
                yield source.at(node, "verify = False: certificates are checked")


def unfinished(source: Source) -> Iterator[str]:
    """No promises to the future in comments or docstrings, and nothing that only pretends to be there."""
    later = re.compile(r"\b(TODO|FIXME|XXX)\b")
    for token in tokenize.generate_tokens(io.StringIO(source.text).readline):
        if token.type == tokenize.COMMENT and (found := later.search(token.string)):
            yield f"{source.path}:{token.start[0]}: {found[0]} in a comment"
    for node in source.nodes:
        match node:
            case ast.Expr(value=ast.Constant(value=str(text))) if found := later.search(text):
                yield source.at(node, f"{found[0]} in a docstring")
            case ast.Name(id="NotImplementedError"):
                yield source.at(node, "NotImplementedError: do it, or leave it out")


def too_long(source: Source) -> Iterator[str]:
    """A module that can be held in mind, a function that fits a screen."""
    if (lines := len(source.text.splitlines())) > LONGEST_MODULE:
        yield f"{source.path}: {lines} lines, and {LONGEST_MODULE} are enough"
    for node in source.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > LONGEST_FUNCTION:
                yield source.at(node, f"{node.name} has {lines} lines, and {LONGEST_FUNCTION} are enough")


def floats(source: Source) -> Iterator[str]:
    """Money is whole numbers of minor units."""
    for node in source.nodes:
        match node:
            case ast.Constant(value=float() | complex() as value):
                yield source.at(node, f"{value} is a float")
            case ast.Call(func=ast.Name(id="float")):
                yield source.at(node, "float()")


PURE: Final = {"cattrs", "stdnum"}  # beside the standard library: they compute and touch nothing
WORLDLY: Final = {  # parts of the standard library that touch the world
    *("asyncio", "concurrent", "ctypes", "fcntl", "http", "multiprocessing", "os", "pathlib", "selectors", "shutil", "signal", "smtplib"),
    *("socket", "socketserver", "sqlite3", "ssl", "subprocess", "tempfile", "threading", "time"),
}


def worldly_imports(source: Source) -> Iterator[str]:
    """The domain imports itself, pure libraries, and what of the standard library does no I/O."""
    for node in source.nodes:
        match node:
            case ast.Import(names=names):
                modules = [alias.name for alias in names]
            case ast.ImportFrom(module=str(module), level=0):
                modules = [module]
            case _:
                continue
        for module in modules:
            top = module.split(".")[0]
            ours = module == "connector.domain" or module.startswith("connector.domain.")
            standard = top in sys.stdlib_module_names and top not in WORLDLY and module != "urllib.request"
            if not (ours or standard or top in PURE):
                yield source.at(node, f"the domain does not import {module}")


def clocks(source: Source) -> Iterator[str]:
    """Time is a parameter in the core."""
    for node in source.nodes:
        match node:
            case ast.Attribute(value=ast.Name(id=owner) | ast.Attribute(attr=owner), attr="now" | "utcnow" | "today" as name):
                if owner in {"datetime", "date"}:
                    yield source.at(node, f".{name}: time is a parameter")


def addresses(source: Source) -> Iterator[str]:
    """A page's address depends on the door that it is seen through, so only the door builds it."""
    for node in source.nodes:
        match node:
            case ast.Name(id="url_for") | ast.Attribute(attr="url_for") | ast.alias(name="url_for"):
                yield source.at(node, "url_for belongs in connector/web/doors.py")


@dataclass(frozen=True)
class Rule:
    """A check, where it holds, and samples that break it (each exactly once) or keep it."""

    check: Callable[[Source], Iterator[str]]
    bad: tuple[str, ...]
    good: tuple[str, ...]
    under: tuple[str, ...] = CODE
    but: tuple[str, ...] = ()

    def offenders(self, files: Iterable[Source]) -> list[str]:
        """What breaks the rule."""
        return [offence for file in files if self._covers(file.path) for offence in self.check(file)]

    def _covers(self, path: str) -> bool:
        return path.startswith(tuple(f"{place}/" for place in self.under)) and not path.startswith(self.but)


_LONG_FUNCTION: Final = "def f():\n" + "    f()\n" * LONGEST_FUNCTION
RULES: Final = (
    Rule(
        hidden_commits,
        bad=(
            "session.commit()",
            "done = session.commit",
            "with engine.begin(): ...",
            "s.with_for_update()",
            "s.get(X, 1, with_for_update=True)",
        ),
        good=('"""Never calls session.commit()."""', "commit()"),
        but=("connector/db.py",),
    ),
    Rule(
        unsafe_calls,
        bad=(
            *("import pickle", "from cloudpickle import loads", "from sqlalchemy import PickleType", "x: PickleSerializer", "rq.pickled"),
            *("run('ls', shell=True)", "yaml.load(text)", "get(url, verify=False)", "session.verify = False"),
        ),
        good=("run(['ls'], shell=False)", "yaml.safe_load(text)", "json.load(file)", "get(url, verify=True)", '"""No pickle here."""'),
    ),
    Rule(
        unfinished,
        bad=("x = 1  # TODO", "# FIXME later", '"""XXX rethink."""', "raise NotImplementedError", "raise NotImplementedError('soon')"),
        good=('currency = "XXX"', "todo = 1  # to be done by the shop"),
    ),
    Rule(
        too_long,
        bad=("x = 1\n" * (LONGEST_MODULE + 1), _LONG_FUNCTION, _LONG_FUNCTION.replace("def", "async def")),
        good=("x = 1\n" * LONGEST_MODULE, _LONG_FUNCTION.removesuffix("    f()\n")),
        but=("connector/migrations/versions/",),  # a migration is one step, however many columns it has
    ),
    Rule(
        floats,
        bad=("rate = 0.2", "x = float(y)", "x = 1e3", "x = 2j"),
        good=("rate = '0.2'", "isinstance(x, float)"),
        under=("connector/domain",),
    ),
    Rule(
        worldly_imports,
        bad=(
            *(
                "import flask",
                "from sqlalchemy.orm import Session",
                "import os",
                "from time import time",
                "from urllib.request import urlopen",
            ),
            *("from connector.models import Refund", "from connector import db", "import connector.domains"),
        ),
        good=(
            "import re",
            "from urllib.parse import quote",
            "from stdnum.iso7064 import mod_37_2",
            "from connector.domain.money import Money",
            "from . import money",
        ),
        under=("connector/domain",),
    ),
    Rule(
        clocks,
        bad=("datetime.now(UTC)", "date.today()", "datetime.datetime.utcnow()", "clock = datetime.now"),
        good=("now = today", "self.now", "decide(today=claim.today)"),
        under=("connector/domain",),
    ),
    Rule(
        addresses,
        bad=("from flask import url_for", "flask.url_for('show')", "url_for('show')"),
        good=("g.door.url('show')", "redirect('show')"),
        under=("connector/web",),
        but=("connector/web/doors.py",),
    ),
)


def _name(rule: Rule) -> str:
    return rule.check.__name__


@pytest.mark.parametrize("rule", RULES, ids=_name)
def test_the_code_keeps_the_rule(rule: Rule) -> None:
    assert rule.offenders(sources()) == []


@pytest.mark.parametrize("rule", RULES, ids=_name)
def test_the_rule_finds_what_breaks_it(rule: Rule) -> None:
    inside, outside = f"{rule.under[0]}/sample.py", "tests/sample.py"
    for sample in rule.bad:
        assert len(rule.offenders([Source(inside, sample)])) == 1, sample
        assert rule.offenders([Source(path, sample) for path in (outside, *rule.but)]) == [], sample
    for sample in rule.good:
        assert rule.offenders([Source(inside, sample)]) == [], sample


def test_the_rules_are_held_against_the_code() -> None:
    seen = {source.path for source in sources()}

    assert {"connector/db.py", "connector/domain/money.py", "adapters/__init__.py", "jobs/__init__.py"} <= seen


def test_an_offender_is_named() -> None:
    samples = [Source("jobs/a.py", "import os\nimport pickle"), Source("jobs/b.py", _LONG_FUNCTION)]

    assert [line for rule in RULES for line in rule.offenders(samples)] == [
        "jobs/a.py:2: pickle: what is read could run",
        "jobs/b.py:1: f has 61 lines, and 60 are enough",
    ]


# --- templates


def addresses_in(template: str) -> list[str]:
    """The lines of a template that build an address themselves."""
    return [line.strip() for line in template.splitlines() if re.search(r"\burl_for\b", line)]


def test_templates_leave_addresses_to_the_door() -> None:
    templates = [path for path in (ROOT / "connector" / "templates").rglob("*") if path.is_file()]

    assert {path.name: found for path in templates if (found := addresses_in(path.read_text(encoding="utf-8")))} == {}
    assert addresses_in("<p>\n<a href=\"{{ url_for('show') }}\">") == ["<a href=\"{{ url_for('show') }}\">"]


# --- rows

_PLATFORM_ID: Final = re.compile(r"(.*_)?ref|(platform_)?reference")


def unscoped(metadata: MetaData) -> list[str]:
    """Keys that take a platform's id for unique across shops. Two shops can both have an order 1001, and will.

    A foreign key must hold `shop_id` beside it. A unique key must hold `shop_id`, or a foreign key to the UUID of a row of ours, which
    belongs to one shop.
    """
    return sorted(offence for table in metadata.tables.values() for offence in (*_unique_keys(table), *_foreign_keys(table)))


def _is_platform_id(column: str) -> bool:
    return _PLATFORM_ID.fullmatch(column) is not None


def _unique_keys(table: Table) -> Iterator[str]:
    keys: list[Iterable[Column[Any]]] = [
        each.columns for each in table.constraints if isinstance(each, UniqueConstraint | PrimaryKeyConstraint)
    ]
    keys += [index.columns for index in table.indexes if index.unique]
    for key in keys:
        names = [column.name for column in key]
        scoped = "shop_id" in names or any(foreign.column.name == "id" for column in key for foreign in column.foreign_keys)
        if any(map(_is_platform_id, names)) and not scoped:
            yield f"{table.name}: unique ({', '.join(names)})"


def _foreign_keys(table: Table) -> Iterator[str]:
    for key in table.foreign_key_constraints:
        pairs = [(element.parent.name, element.column.name) for element in key.elements]
        if any(_is_platform_id(name) for pair in pairs for name in pair) and ("shop_id", "shop_id") not in pairs:
            yield f"{table.name}: foreign key ({', '.join(name for name, _ in pairs)})"


def test_no_key_takes_a_platforms_id_for_unique_across_shops() -> None:
    metadata: MetaData = importlib.import_module("connector.models").Base.metadata

    assert "orders" in metadata.tables
    assert unscoped(metadata) == []


def test_unscoped_keys_are_found() -> None:
    metadata = MetaData()
    Table("shops", metadata, Column("id", Integer, primary_key=True))
    Table(
        "orders",
        metadata,
        Column("shop_id", ForeignKey("shops.id"), primary_key=True),
        Column("ref", Integer, primary_key=True),
        Column("customer_ref", Integer, unique=True),  # 1
        Column("platform_reference", Integer, unique=True, index=True),  # 2
        Column("number", Integer),
        UniqueConstraint("ref", "number"),  # 3
        UniqueConstraint("shop_id", "customer_ref"),
        Index("i", "customer_ref", unique=True),  # 4
        Index("j", "shop_id", "customer_ref", unique=True),
        Index("k", "customer_ref"),
    )
    Table(
        "refunds",
        metadata,
        Column("reference", Integer, primary_key=True),  # 5
        Column("shop_id", ForeignKey("shops.id")),
        Column("order_ref", Integer),
        Column("order_id", ForeignKey("shops.id")),
        UniqueConstraint("order_id", "order_ref"),
        ForeignKeyConstraint(["order_ref"], ["orders.ref"]),  # 6
        ForeignKeyConstraint(["shop_id", "order_ref"], ["orders.shop_id", "orders.ref"]),
        ForeignKeyConstraint(["order_id"], ["orders.customer_ref"]),  # 7
    )

    assert unscoped(metadata) == [
        "orders: unique (customer_ref)",
        "orders: unique (customer_ref)",
        "orders: unique (platform_reference)",
        "orders: unique (ref, number)",
        "refunds: foreign key (order_id)",
        "refunds: foreign key (order_ref)",
        "refunds: unique (reference)",
    ]


# --- what is installed, and from where

PINS: Final = ("requirements-build.txt", "requirements.txt", "requirements-dev.txt")
_PIN: Final = re.compile(r"([a-z0-9.-]+)(?:\[[a-z,]+\])?==([0-9][\w.]*)(?: ; [^\\]+?)?((?: --hash=sha256:[0-9a-f]{64})*)")


def loose(text: str) -> list[str]:
    """The lines of a requirements file that are no pin with hashes: options, ranges, addresses, paths."""
    lines = [line.strip() for line in re.sub(r" *\\\n *", " ", text).splitlines()]
    pins = [line for line in lines if line and not line.startswith("#")]
    hosts = [line for line in text.splitlines() if re.search(r"://|(?<![\w.])/\w", line)]
    return hosts + [pin for pin in pins if not ((found := _PIN.fullmatch(pin)) and found[3])]


def pinned(text: str) -> dict[str, str]:
    """Name and version of each pin."""
    return {found[1]: found[2] for line in text.splitlines() if (found := re.match(r"([a-z0-9.-]+)(?:\[[a-z,]+\])?==([^\s;\\]+)", line))}


@pytest.mark.parametrize("name", PINS)
def test_every_requirement_is_pinned_with_hashes_and_names_no_host(name: str) -> None:
    text = (ROOT / "requirements" / name).read_text(encoding="utf-8")

    assert loose(text) == []
    assert len(pinned(text)) == len(re.findall(r"^\w", text, re.MULTILINE))


def test_loose_requirements_are_found() -> None:
    hashed = f" \\\n    --hash=sha256:{'a' * 64} \\\n    --hash=sha256:{'b' * 64}"
    good = f"# by make lock\nflask==3.1.3{hashed}\n    # via retour (pyproject.toml)\ncolorama==0.4.6 ; sys_platform == 'win32'{hashed}\n"
    bad = [
        "flask",
        "flask>=3",
        "flask==3.1.3",
        "--index-url https://example.com",
        "-f wheels",
        "# from file:///srv",
        f"flask==3.*,>2{hashed}",
    ]

    assert loose(good) == []
    assert [line for line in bad if not loose(good + line)] == []
    assert pinned(good) == {"flask": "3.1.3", "colorama": "0.4.6"}


def test_the_pins_are_what_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    groups = project["dependency-groups"]
    asked = {
        "requirements-build.txt": groups["build"],
        "requirements.txt": project["project"]["dependencies"],
        "requirements-dev.txt": [
            *project["project"]["dependencies"],
            *groups["build"],
            *(each for each in groups["dev"] if isinstance(each, str)),
        ],
    }

    for name, wanted in asked.items():
        versions = pinned((ROOT / "requirements" / name).read_text(encoding="utf-8"))
        stale = [each for each in map(Requirement, wanted) if not each.specifier.contains(versions.get(each.name.lower(), "0"))]
        assert stale == [], f"{name}: run `make lock`"


# Written so that this file does not name them either.
_PLACES: Final = re.compile(r"pyp[i]\.org|pythonhoste[d]\.org|npmj[s]\.org|debia[n]\.org/debian|/opt/(?:wheel[s]|pyp[i])|/root/\.pyen[v]")
_NOT_OURS: Final = {".git", ".venv", "node_modules", "build", "dist", "__pycache__"}


def places_in(text: str) -> list[str]:
    """Package indexes and paths of somebody's machine that a text names."""
    return _PLACES.findall(text)


def test_no_file_names_a_package_index_or_a_path_of_somebodys_machine() -> None:
    hidden = [ROOT / ".ci", ROOT / ".gitignore"]
    tops = [path for path in ROOT.iterdir() if not path.name.startswith(".") and path.name not in _NOT_OURS] + hidden
    files = [
        path for top in tops for path in (top, *top.rglob("*")) if path.is_file() and _NOT_OURS.isdisjoint(path.relative_to(ROOT).parts)
    ]
    named = {
        path.relative_to(ROOT).as_posix(): found
        for path in files
        if (found := places_in(path.read_text(encoding="utf-8", errors="ignore")))
    }

    assert ROOT / "pyproject.toml" in files
    assert named == {}


def test_places_are_found() -> None:
    hosts = [stem + end for stem, end in (("pyp", "i"), ("files.pythonhoste", "d"), ("registry.npmj", "s"))]

    assert [len(places_in(f"see https://{host}.org/simple")) for host in hosts] == [1, 1, 1]
    assert len(places_in("/opt/{} and /root/.{}".format("wheels", "pyenv/versions"))) == 2
    assert places_in("see https://retour.example/install") == []
