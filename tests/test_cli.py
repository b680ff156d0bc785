"""What an operator types: the commands, run as the operator runs them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from connector import policy_text, wiring
from connector.config import Settings


def retour(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """`retour …` in a process of its own."""
    command = [sys.executable, "-m", "connector.cli", *words]
    return subprocess.run(command, env={**os.environ, **environ}, capture_output=True, text=True, check=False, timeout=240)


@pytest.mark.timeout(300)
def test_the_story_tells_one_return_from_the_claim_to_the_books_and_its_timeline_verifies(tmp_path: Path) -> None:
    """The main job on the embedded default: SQLite, Valkey, a worker that is really killed, and a shop that paid once."""
    data = tmp_path / "demo"

    told = retour("story", "--data", str(data))

    assert told.returncode == 0, told.stdout + told.stderr
    assert "is killed (kill -9" in told.stdout
    assert "One payment, although the worker died after it was made." in told.stdout
    assert "CAD 32.44" in told.stdout
    assert told.stderr == ""
    verified = retour("verify", RETOUR_DATA=str(data), RETOUR_DEV="1")
    assert verified.returncode == 0
    assert "sealed up to entry 8; 0 wait for their seal" in verified.stdout


@pytest.mark.timeout(300)
def test_verify_names_what_was_changed_behind_its_back_and_exits_with_1(tmp_path: Path) -> None:
    data = tmp_path / "demo"
    assert retour("story", "--data", str(data)).returncode == 0
    settings = Settings.from_env({"RETOUR_DATA": str(data), "RETOUR_DEV": "1"})
    with wiring.database(settings).transaction() as session:
        session.execute(text("DROP TRIGGER append_only_timeline_update"))
        session.execute(text("UPDATE timeline SET who = 'nobody' WHERE what = 'rma.resolve'"))

    verified = retour("verify", RETOUR_DATA=str(data))

    assert verified.returncode == 1
    assert "CHANGED: position" in verified.stdout


def test_migrate_says_what_it_did_and_can_be_repeated(tmp_path: Path) -> None:
    first = retour("migrate", RETOUR_DATA=str(tmp_path))
    second = retour("migrate", RETOUR_DATA=str(tmp_path))

    assert first.stdout == "The database is at 0003 (it was at nothing).\n"
    assert second.stdout == "The database is at 0003 already.\n"


def test_an_unmigrated_database_is_left_alone_and_the_command_to_run_is_named(tmp_path: Path) -> None:
    for command in ("verify", "run"):
        told = retour(command, RETOUR_DATA=str(tmp_path / command))

        assert told.returncode == 1
        assert told.stderr == "Error: the database is at nothing and this code wants 0003: run `retour migrate` first\n"


def test_run_explains_a_port_that_is_none_before_it_starts_anything(tmp_path: Path) -> None:
    refused = retour("run", RETOUR_DATA=str(tmp_path), PORT="http")

    assert refused.returncode == 1
    assert refused.stderr == "Error: PORT must be a whole number below 65536, not 'http'\n"


def test_settings_that_cannot_be_are_explained_in_a_sentence(tmp_path: Path) -> None:
    refused = retour("migrate", RETOUR_DATA=str(tmp_path), DATABASE_URL="mysql://nobody@localhost/x")

    assert refused.returncode == 1
    assert refused.stderr.startswith("Error: ")
    assert "Traceback" not in refused.stderr


def test_keys_are_fresh_and_fit(tmp_path: Path) -> None:
    printed = [line.split("=", 1) for line in retour("keys").stdout.splitlines()]
    again = retour("keys").stdout

    assert [name for name, _ in printed] == ["RETOUR_SECRET_KEYS", "RETOUR_DIGEST_KEY", "RETOUR_SEAL_KEY"]
    assert not any(key in again for _, key in printed)
    settings = Settings.from_env({"RETOUR_DATA": str(tmp_path), "DATABASE_URL": "postgresql://localhost/x", **dict(printed)})
    assert wiring.vault(settings).digest("x", "y")


def test_policy_check_runs_the_cases_of_a_file_and_names_its_mistakes(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.toml", tmp_path / "bad.toml"
    good.write_text(policy_text.default_text(), encoding="utf-8")
    bad.write_text(policy_text.default_text().replace("days = 30", 'days = "many"'), encoding="utf-8")

    fine, faulty = retour("policy", "check", str(good)), retour("policy", "check", str(bad))

    assert (fine.returncode, faulty.returncode) == (0, 1)
    assert "line" in faulty.stderr
    assert "window.days" in faulty.stderr
    assert "Traceback" not in faulty.stderr
