"""Settings from the environment: every variable, its default, what is refused and what to do then; and the keys that are made once."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from connector import embedded
from connector.config import Misconfigured, Settings
from connector.db import Database
from connector.secrets import Vault, new_key
from tests.processes import together

SECRET, OLD, DIGEST, SEAL = (new_key() for _ in range(4))
ELSEWHERE = {
    "DATABASE_URL": "postgresql://retour:hunter2@db.example/retour",
    "REDIS_URL": "rediss://:hunter3@redis.example/0",
    "RETOUR_SECRET_KEYS": f"{SECRET},{OLD}",
    "RETOUR_DIGEST_KEY": DIGEST,
    "RETOUR_SEAL_KEY": SEAL,
}


@pytest.fixture
def here(tmp_path: Path) -> dict[str, str]:
    """An environment that says only where to keep things."""
    return {"RETOUR_DATA": str(tmp_path / "data")}


def refused(environ: dict[str, str]) -> str:
    """What an operator is told."""
    with pytest.raises(Misconfigured) as told:
        Settings.from_env(environ)
    return str(told.value)


# ── Defaults, and every variable ────────────────────────────────────────────────────────────────────────────────────


def test_nothing_needs_to_be_set(tmp_path: Path) -> None:
    """What `.retour` in the working directory then holds is seen from a process that works there."""
    program = "from connector.config import Settings; s = Settings.from_env(); print(s.data_dir); print(s.database_url)"
    environ = {name: value for name, value in os.environ.items() if not name.startswith("RETOUR_")}

    told = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environ, capture_output=True, text=True, check=True).stdout

    assert told.splitlines() == [str(tmp_path / ".retour"), f"sqlite:///{tmp_path / '.retour' / 'retour.db'}"]
    assert {path.name for path in (tmp_path / ".retour").iterdir()} == {"secret.key", "digest.key", "seal.key"}


def test_the_defaults_are_one_process_of_each_kind_on_this_machine(here: dict[str, str]) -> None:
    settings = Settings.from_env(here)

    data = Path(here["RETOUR_DATA"])
    assert settings.data_dir == data
    assert settings.database_url == f"sqlite:///{data / 'retour.db'}"
    assert settings.redis_url == embedded.redis_url(data)
    assert settings.base_url == "http://127.0.0.1:8000"
    assert (settings.dev, settings.threads, settings.kinds) == (False, 4, None)
    assert len({*settings.secret_keys, settings.digest_key, settings.seal_key}) == 3
    Vault.of(settings.secret_keys, settings.digest_key)  # they are good keys


def test_every_variable_is_heard(tmp_path: Path) -> None:
    settings = Settings.from_env(
        ELSEWHERE
        | {
            "RETOUR_DATA": str(tmp_path / "never made"),
            "BASE_URL": "https://returns.example.com/retour/",
            "RETOUR_THREADS": "12",
            "RETOUR_KINDS": "settle, mirror,",
        }
    )

    assert settings == Settings(
        data_dir=tmp_path / "never made",
        database_url="postgresql+psycopg://retour:hunter2@db.example/retour",
        redis_url="rediss://:hunter3@redis.example/0",
        secret_keys=(SECRET, OLD),
        digest_key=DIGEST,
        seal_key=SEAL,
        base_url="https://returns.example.com/retour",
        dev=False,
        threads=12,
        kinds=frozenset({"settle", "mirror"}),
    )
    assert not (tmp_path / "never made").exists()  # nothing needs to be kept there


def test_the_environment_of_the_process_is_the_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RETOUR_DATA", str(tmp_path))
    monkeypatch.setenv("RETOUR_THREADS", "7")

    assert Settings.from_env().threads == 7


def test_an_empty_variable_is_one_that_is_not_set(here: dict[str, str]) -> None:
    empty = dict.fromkeys(
        ["DATABASE_URL", "REDIS_URL", "BASE_URL", "RETOUR_DEV", "RETOUR_THREADS", "RETOUR_KINDS", "RETOUR_SECRET_KEYS"], ""
    )

    assert Settings.from_env(here | empty) == Settings.from_env(here)


def test_settings_do_not_change(here: dict[str, str]) -> None:
    with pytest.raises(FrozenInstanceError):
        Settings.from_env(here).dev = True  # type: ignore[misc]


# ── The database's address ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("postgres://u:p@h:5432/d?sslmode=require", "postgresql+psycopg://u:p@h:5432/d?sslmode=require"),  # as Heroku hands it out
        ("postgresql://u:p@h/d", "postgresql+psycopg://u:p@h/d"),
        ("postgresql+psycopg://u:p@h/d", "postgresql+psycopg://u:p@h/d"),
        ("postgresql:///d?host=/run/postgresql", "postgresql+psycopg:///d?host=/run/postgresql"),
        ("sqlite:////var/lib/retour/retour.db", "sqlite:////var/lib/retour/retour.db"),
        ("sqlite:///retour.db", "sqlite:///retour.db"),
    ],
)
def test_addresses_that_hosts_hand_out_are_understood(given: str, meant: str) -> None:
    assert Settings.from_env(ELSEWHERE | {"DATABASE_URL": given}).database_url == meant


@pytest.mark.parametrize(
    "given",
    [
        "mysql://retour:hunter2@h/d",
        "postgresql+asyncpg://retour:hunter2@h/d",
        "postgresql:retour:hunter2",
        "POSTGRES://retour:hunter2@h/d",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:retour.db",
        "/var/lib/hunter2.db",
        "hunter2",
        " ",
    ],
)
def test_any_other_database_is_refused_without_quoting_its_password(given: str) -> None:
    told = refused(ELSEWHERE | {"DATABASE_URL": given})

    assert told == "DATABASE_URL must begin with postgresql:// or be sqlite:/// and the path of a file"


def test_a_data_directory_with_blanks_and_signs_makes_a_database_that_opens(tmp_path: Path) -> None:
    settings = Settings.from_env({"RETOUR_DATA": str(tmp_path / "Zoë's returns 100% #1")})

    database = Database(settings.database_url)
    with database.transaction():
        pass
    database.dispose()

    assert (settings.data_dir / "retour.db.turn").exists()


# ── Our own address, and development ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "given",
    ["https://returns.example.com", "https://returns.example.com:8443/a/b", "http://10.0.0.7:8000", "https://xn--bcher-kva.example"],
)
def test_our_own_address_may_be_any_of_the_web(given: str, here: dict[str, str]) -> None:
    assert Settings.from_env(here | {"BASE_URL": given + "/"}).base_url == given


@pytest.mark.parametrize(
    "given",
    [
        "returns.example.com",
        "//returns.example.com",
        "ftp://returns.example.com",
        "https://",
        "https:///path",
        "https://sam:hunter2@returns.example.com",
        "https://returns.example.com?x=1",
        "https://returns.example.com#x",
        "https://returns.example.com:port",
        "https://[::1",
        "https://returns.example.com/a b",
        "https://returns.example.com\r\nX-Evil: 1",
        "https://bücher.example",
        "javascript:alert(1)",
    ],
)
def test_an_address_that_is_none_is_refused_with_an_example(given: str, here: dict[str, str]) -> None:
    told = refused(here | {"BASE_URL": given})

    assert told == "BASE_URL must be the address that shoppers reach, such as https://returns.example.com"


@pytest.mark.parametrize("base", ["", "http://localhost:8000", "http://127.0.0.1:5000/", "http://[::1]:8000"])
def test_development_is_for_this_machine(base: str, here: dict[str, str]) -> None:
    assert Settings.from_env(here | {"RETOUR_DEV": "1", "BASE_URL": base}).dev


@pytest.mark.parametrize(
    "base",
    [
        "https://returns.example.com",
        "http://10.0.0.7:8000",
        "http://localhost.example.com",
        "http://0.0.0.0:8000",
        "http://127.0.0.1.nip.io",
    ],
)
def test_development_must_not_meet_a_public_address(base: str, here: dict[str, str]) -> None:
    told = refused(here | {"RETOUR_DEV": "1", "BASE_URL": base})

    assert "RETOUR_DEV" in told
    assert base in told
    assert told.endswith("unset one of them")


@pytest.mark.parametrize(("given", "dev"), [("", False), ("0", False), ("1", True)])
def test_development_is_on_or_off(given: str, dev: bool, here: dict[str, str]) -> None:
    assert Settings.from_env(here | {"RETOUR_DEV": given}).dev is dev


@pytest.mark.parametrize("given", ["yes", "true", "on", "2", " 1"])
def test_half_a_yes_to_development_is_refused_and_never_guessed(given: str, here: dict[str, str]) -> None:
    assert refused(here | {"RETOUR_DEV": given}) == f"RETOUR_DEV must be 1, or 0, or not set, not {given!r}"


# ── Threads and kinds ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("given", ["2", "007", "999"])
def test_a_number_of_threads_is_a_whole_number(given: str, here: dict[str, str]) -> None:
    assert Settings.from_env(here | {"RETOUR_THREADS": given}).threads == int(given)


@pytest.mark.parametrize("given", ["1", "0", "-4", "4.0", "four", "\uff14", "\u00b2", "1e1", " 4", "1000", "9" * 5000])
def test_a20_a_number_that_is_none_or_too_small_is_refused_with_its_bounds(given: str, here: dict[str, str]) -> None:
    told = refused(here | {"RETOUR_THREADS": given})

    assert told == f"RETOUR_THREADS must be a whole number from 2 to 999, not {given[:20]!r}"


@pytest.mark.parametrize("given", [",", " , ", " "])
def test_a_worker_for_no_kind_at_all_is_refused(given: str, here: dict[str, str]) -> None:
    assert refused(here | {"RETOUR_KINDS": given}).startswith("RETOUR_KINDS names no kind of work; unset it")


# ── Keys ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_keys_are_made_once_and_kept_for_their_owner_alone(here: dict[str, str]) -> None:
    first, second = Settings.from_env(here), Settings.from_env(here)

    data = Path(here["RETOUR_DATA"])
    assert (first.secret_keys, first.digest_key, first.seal_key) == (second.secret_keys, second.digest_key, second.seal_key)
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in data.iterdir()} == {
        "secret.key": 0o600,
        "digest.key": 0o600,
        "seal.key": 0o600,
    }
    assert stat.S_IMODE(data.stat().st_mode) == 0o700


def test_another_data_directory_has_other_keys(tmp_path: Path) -> None:
    one, other = (Settings.from_env({"RETOUR_DATA": str(tmp_path / name)}) for name in ("one", "other"))

    assert not {*one.secret_keys, one.digest_key, one.seal_key} & {*other.secret_keys, other.digest_key, other.seal_key}


def test_processes_that_start_at_once_have_the_same_keys(tmp_path: Path) -> None:
    places = [str(tmp_path / str(n)) for n in range(20)]

    outcome = together(keys_of_each, [(places,)] * 3)

    assert outcome[0] == outcome[1] == outcome[2]
    assert len({key for keys in outcome[0] for key in keys}) == 3 * len(places)
    assert all(len(list(Path(place).iterdir())) == 3 for place in places)  # no draft is left


def keys_of_each(meet: Callable[[], object], places: list[str]) -> list[tuple[str, ...]]:
    found = []
    for place in places:
        meet()
        settings = Settings.from_env({"RETOUR_DATA": place})
        found.append((*settings.secret_keys, settings.digest_key, settings.seal_key))
    return found


def test_keys_that_are_given_are_not_made(here: dict[str, str]) -> None:
    settings = Settings.from_env(here | {"RETOUR_SECRET_KEYS": f" {SECRET} ,{OLD},, ", "RETOUR_SEAL_KEY": SEAL})

    assert settings.secret_keys == (SECRET, OLD)
    assert settings.seal_key == SEAL
    assert [path.name for path in Path(here["RETOUR_DATA"]).iterdir()] == ["digest.key"]


@pytest.mark.parametrize("missing", ["RETOUR_SECRET_KEYS", "RETOUR_DIGEST_KEY", "RETOUR_SEAL_KEY"])
def test_beside_a_database_of_its_own_every_key_must_be_given(missing: str) -> None:
    told = refused({name: value for name, value in ELSEWHERE.items() if name != missing})

    assert told.startswith(f"{missing} is needed beside DATABASE_URL")
    assert "`retour keys`" in told


@pytest.mark.parametrize("name", ["secret.key", "digest.key", "seal.key"])
@pytest.mark.parametrize("content", ["", "\n"])
def test_an_empty_key_file_is_never_replaced(here: dict[str, str], name: str, content: str) -> None:
    Settings.from_env(here)
    path = Path(here["RETOUR_DATA"], name)
    path.write_text(content, encoding="ascii")

    told = refused(here)

    assert told == f"{path} is empty; restore it from a backup (what it encrypted cannot be read without it)"
    assert path.read_text(encoding="ascii") == content


def test_a_key_file_may_end_with_a_line_break(here: dict[str, str]) -> None:
    before = Settings.from_env(here)
    path = Path(here["RETOUR_DATA"], "seal.key")
    path.write_text(f"{before.seal_key}\n", encoding="ascii")

    assert Settings.from_env(here) == before


def test_a_data_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="ascii")

    told = refused({"RETOUR_DATA": str(tmp_path / "file" / "data")})

    assert told.startswith(f"RETOUR_DATA: {tmp_path / 'file' / 'data' / 'secret.key'}: ")
    assert told.endswith("name a directory that this user may write to")


# ── A71, A72 ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a71_settings_never_show_a_secret() -> None:
    settings = Settings.from_env(ELSEWHERE)

    shown = f"{settings} {settings!r} {[settings]}"

    assert "base_url='http://127.0.0.1:8000'" in shown
    for secret in ("hunter2", "hunter3", SECRET, OLD, DIGEST, SEAL):
        assert secret not in shown
