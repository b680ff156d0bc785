"""The vault: what it keeps, for whom, under which key; and that it never says a key aloud."""

from __future__ import annotations

import base64
import pickle
import re
import traceback
from dataclasses import FrozenInstanceError
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.secrets import (
    BadLink,
    ExpiredLink,
    Misplaced,
    NoKeyOpens,
    UnusableKey,
    Vault,
    canonical_email,
    canonical_postal_code,
    new_key,
)

OLD, NEW, DIGEST = (base64.urlsafe_b64encode(bytes([n]) * 32).decode() for n in (1, 2, 3))  # fixed: they name tests
VAULT = Vault.of([NEW, OLD], DIGEST)
HOUR = timedelta(hours=1)


class Clock:
    """A clock that stands still until it is told otherwise."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


# ── Encryption ──────────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])) | st.binary())
def test_it_opens_what_it_closed(data: str | bytes) -> None:
    token = VAULT.encrypt("credentials", "shop-1", data)

    assert isinstance(token, bytes)
    assert VAULT.decrypt_bytes("credentials", "shop-1", token) == (data.encode() if isinstance(data, str) else data)


def test_a_text_comes_back_as_a_text_and_never_twice_as_the_same_bytes() -> None:
    first, second = (VAULT.encrypt("credentials", "shop-1", "ck_1 Zoë") for _ in range(2))

    assert first != second
    assert VAULT.decrypt("credentials", "shop-1", first) == VAULT.decrypt("credentials", "shop-1", second) == "ck_1 Zoë"
    assert b"ck_1" not in first


@pytest.mark.parametrize(
    ("purpose", "owner"),
    [("credentials", "shop-2"), ("contact", "shop-1"), ("credential", "sshop-1"), ("credentials,6:shop-1", "x"), ("credentials", "shop-")],
)
def test_a_ciphertext_copied_to_another_row_is_refused(purpose: str, owner: str) -> None:
    token = VAULT.encrypt("credentials", "shop-1", "ck_1")

    with pytest.raises(Misplaced) as refused:
        VAULT.decrypt(purpose, owner, token)
    assert "ck_1" not in str(refused.value)


@given(st.text(min_size=1), st.text(min_size=1), st.text(min_size=1), st.text(min_size=1))
def test_no_two_bindings_are_taken_for_each_other(purpose: str, owner: str, other_purpose: str, other_owner: str) -> None:
    try:
        token = VAULT.encrypt(purpose, owner, b"x")
        opened = VAULT.decrypt_bytes(other_purpose, other_owner, token)
    except (Misplaced, UnicodeEncodeError):
        return
    assert (purpose, owner, opened) == (other_purpose, other_owner, b"x")


@pytest.mark.parametrize(("purpose", "owner"), [("", "shop-1"), ("credentials", "")])
def test_a_secret_needs_a_purpose_and_an_owner(purpose: str, owner: str) -> None:
    with pytest.raises(ValueError, match="purpose and an owner"):
        VAULT.encrypt(purpose, owner, "ck_1")
    with pytest.raises(ValueError, match="purpose and an owner"):
        VAULT.decrypt(purpose, owner, b"")


def test_every_changed_character_is_noticed() -> None:
    token = VAULT.encrypt("credentials", "shop-1", "ck_1")

    for place in range(0, len(token) - 2, 7):
        changed = token[:place] + (b"A" if token[place : place + 1] != b"A" else b"B") + token[place + 1 :]
        with pytest.raises(NoKeyOpens):
            VAULT.decrypt("credentials", "shop-1", changed)


@pytest.mark.parametrize("token", [b"", b"{}", b"\xff" * 100, b"gAAAAA", "gAAAAÄ".encode()])
def test_what_is_no_ciphertext_is_refused(token: bytes) -> None:
    with pytest.raises(NoKeyOpens):
        VAULT.decrypt("credentials", "shop-1", token)
    with pytest.raises(NoKeyOpens):
        VAULT.rotate(token)


# ── Rotation ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_first_key_encrypts_and_every_key_decrypts() -> None:
    before = Vault.of([OLD], DIGEST)
    written_before, written_now = before.encrypt("credentials", "shop-1", "ck_1"), VAULT.encrypt("credentials", "shop-1", "ck_1")

    assert VAULT.decrypt("credentials", "shop-1", written_before) == "ck_1"
    assert Vault.of([NEW], DIGEST).decrypt("credentials", "shop-1", written_now) == "ck_1"
    with pytest.raises(NoKeyOpens):
        before.decrypt("credentials", "shop-1", written_now)


def test_a_key_dropped_too_early_is_named_as_the_cause() -> None:
    token = Vault.of([OLD], DIGEST).encrypt("credentials", "shop-1", "ck_1")

    with pytest.raises(
        NoKeyOpens, match=r"credentials: no key of RETOUR_SECRET_KEYS opens it; an old key was taken off the list too early"
    ):
        Vault.of([NEW], DIGEST).decrypt("credentials", "shop-1", token)


def test_a_rotated_ciphertext_needs_the_old_key_no_more_and_stays_where_it_belongs() -> None:
    rotated = VAULT.rotate(Vault.of([OLD], DIGEST).encrypt("credentials", "shop-1", "ck_1"))

    after = Vault.of([NEW], DIGEST)
    assert after.decrypt("credentials", "shop-1", rotated) == "ck_1"
    with pytest.raises(Misplaced):
        after.decrypt("credentials", "shop-2", rotated)


def test_digests_do_not_change_with_the_other_keys() -> None:
    assert Vault.of([OLD], DIGEST).email_digest("a@b.ch") == Vault.of([NEW], DIGEST).email_digest("a@b.ch")
    assert Vault.of([OLD], new_key()).email_digest("a@b.ch") != Vault.of([OLD], DIGEST).email_digest("a@b.ch")


# ── Digests: A33 ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("zoe@example.com", "ZOE@Example.COM"),
        ("zoe@example.com", "  zoe@example.com\n"),
        ("zoe@example.com", "\u200bzoe@example.com\u2060"),  # pasted
        ("zoe@example.com", "zoe@example.com."),
        ("zo\u00eb@example.com", "zoe\u0308@example.com"),  # NFC, NFD
        ("zoe@b\u00fccher.example", "zoe@xn--bcher-kva.example"),
        ("zoe@b\u00fccher.example", "zoe@XN--BCHER-KVA.EXAMPLE"),
        ("zoe@b\u00fccher.example", "zoe@B\u00dcCHER\u3002example"),
        ("zoe@example.com", "\uff5aoe\uff20example.com"),  # full width
        ("zoe@ex_ample.com", "zoe@EX_AMPLE.com."),
        ("zoe", "ZOE "),
        ("", "  "),
    ],
)
def test_a33_two_spellings_of_one_mailbox_are_one(one: str, other: str) -> None:
    assert canonical_email(one) == canonical_email(other)
    assert VAULT.email_digest(one) == VAULT.email_digest(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("zoe@example.com", "zoe+shop@example.com"),
        ("zoe@example.com", "z.oe@example.com"),
        ("zoe@example.com", "z\u043ee@example.com"),  # a Cyrillic o
        ("zoe@example.com", "zoe@ex\u0430mple.com"),  # a Cyrillic a
        ("zoe@strasse.example", "zoe@stra\u00dfe.example"),  # two owners
        ("strasse@example.com", "stra\u00dfe@example.com"),  # and these
        ("zoe@example.com", "zoe@example.co"),
        ("zoe@example.com", "zoe @example.com"),
        ("zoe@example.com", ""),
    ],
)
def test_a33_other_mailboxes_stay_others(one: str, other: str) -> None:
    assert VAULT.email_digest(one) != VAULT.email_digest(other)


@given(st.text())
def test_a33_whatever_is_typed_has_one_form(text: str) -> None:
    assert re.fullmatch(r"[0-9a-f]{64}", VAULT.email_digest(text))
    assert re.fullmatch(r"[0-9a-f]{64}", VAULT.postal_digest(text))
    assert canonical_postal_code(canonical_postal_code(text)) == canonical_postal_code(text)


@given(st.emails())
def test_a33_the_canonical_form_is_its_own(email: str) -> None:
    assert canonical_email(canonical_email(email)) == canonical_email(email)


@pytest.mark.parametrize("email", ["a" * 100_000 + "@example.com", "a@" + "b" * 100_000 + ".com", "a@" + "\u00fc." * 5_000])
def test_a33_an_endless_address_is_digested_like_any_other(email: str) -> None:
    assert len(VAULT.email_digest(email)) == 64


@pytest.mark.parametrize(("one", "other"), [("SW1A 1AA", "sw1a1aa"), ("1000-001", " 1000001 "), ("\uff18\uff10\uff10\uff11", "8001")])
def test_two_spellings_of_one_postal_code_are_one(one: str, other: str) -> None:
    assert VAULT.postal_digest(one) == VAULT.postal_digest(other)


def test_digests_of_one_text_differ_by_purpose() -> None:
    assert len({VAULT.email_digest("8001"), VAULT.postal_digest("8001"), VAULT.digest("code", "8001"), VAULT.digest("cod", "e8001")}) == 4


# ── Links ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_link_brings_back_what_was_signed() -> None:
    token = VAULT.sign("status", {"rma": "ABCD2345", "lang": "fr"})

    assert re.fullmatch(r"[A-Za-z0-9_.-]+", token)
    assert VAULT.read("status", token, HOUR) == {"rma": "ABCD2345", "lang": "fr"}


def test_a_link_for_something_else_is_refused() -> None:
    with pytest.raises(BadLink):
        VAULT.read("staff", VAULT.sign("status", {"rma": "ABCD2345"}), HOUR)


def test_a_link_of_another_installation_is_refused() -> None:
    with pytest.raises(BadLink):
        VAULT.read("status", Vault.of([new_key()], DIGEST).sign("status", {}), HOUR)


def test_a_link_expires() -> None:
    clock = Clock()
    vault = Vault.of([NEW], DIGEST, clock=clock)
    token = vault.sign("status", {"rma": "ABCD2345"})

    clock.now += 3600
    assert vault.read("status", token, HOUR) == {"rma": "ABCD2345"}
    clock.now += 1
    with pytest.raises(ExpiredLink, match="good for 1:00:00"):
        vault.read("status", token, HOUR)


@pytest.mark.parametrize(("behind", "good"), [(0, True), (1, True), (600, True), (602, False)])
def test_a_link_from_a_machine_whose_clock_is_ahead_is_good(behind: int, good: bool) -> None:
    clock = Clock()
    vault = Vault.of([NEW], DIGEST, clock=clock)
    token = vault.sign("status", {})

    clock.now -= behind
    if good:
        assert vault.read("status", token, HOUR) == {}
    else:
        with pytest.raises(BadLink, match="future"):
            vault.read("status", token, HOUR)


def test_links_rotate_with_the_keys() -> None:
    before = Vault.of([OLD], DIGEST).sign("status", {"rma": "1"})

    assert VAULT.read("status", before, HOUR) == {"rma": "1"}
    assert Vault.of([NEW], DIGEST).read("status", VAULT.sign("status", {"rma": "2"}), HOUR) == {"rma": "2"}
    with pytest.raises(BadLink):
        Vault.of([NEW], DIGEST).read("status", before, HOUR)


@pytest.mark.parametrize("token", ["", ".", "..", "a.b", "é.ü", "\udcff", "x" * 100_000, "eyJhdCI6MX0.AAAA"])
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(BadLink):
        VAULT.read("status", token, HOUR)


def test_every_changed_character_of_a_link_is_noticed() -> None:
    token = VAULT.sign("status", {"rma": "ABCD2345"})

    for place in range(len(token) - 1):  # the last one holds bits that base64 ignores
        changed = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        with pytest.raises(BadLink):
            VAULT.read("status", changed, HOUR)


# ── Keys ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("key", [NEW, NEW.rstrip("="), f" {NEW}\n"])
def test_a_key_may_lack_its_padding_and_have_blanks_around_it(key: str) -> None:
    token = Vault.of([key], DIGEST).encrypt("x", "y", "z")

    assert Vault.of([key.strip().rstrip("=") + "="], DIGEST).decrypt("x", "y", token) == "z"


@pytest.mark.parametrize(
    ("keys", "digest", "says"),
    [
        ([], DIGEST, "RETOUR_SECRET_KEYS is empty"),
        ([""], DIGEST, r"RETOUR_SECRET_KEYS \(key 1 of 1\) is missing"),
        ([NEW, "hunter2"], DIGEST, r"RETOUR_SECRET_KEYS \(key 2 of 2\) is malformed: 7 characters"),
        ([NEW[:-2]], DIGEST, r"RETOUR_SECRET_KEYS \(key 1 of 1\) is malformed: 42 characters"),
        ([NEW[:20] + "*" + NEW[21:]], DIGEST, "malformed"),
        ([NEW + NEW], DIGEST, "malformed: 88 characters"),
        ([NEW], "", "RETOUR_DIGEST_KEY is missing"),
        ([NEW], "x" * 42, "RETOUR_DIGEST_KEY is malformed"),
        ([NEW, OLD], OLD, "RETOUR_DIGEST_KEY is also one of RETOUR_SECRET_KEYS"),
    ],
)
def test_an_unusable_key_is_named_never_quoted_and_says_what_to_do(keys: list[str], digest: str, says: str) -> None:
    with pytest.raises(UnusableKey, match=says) as refused:
        Vault.of(keys, digest)

    told = "".join(traceback.format_exception(refused.value))
    assert "make one with: python -c" in told
    assert not any(key in told for key in [*keys, digest] if key)


def test_a_vault_never_prints_its_keys() -> None:
    shown = f"{VAULT} {VAULT!r} {[VAULT]} {VAULT.encrypt}"

    assert "Vault(2 keys)" in shown
    assert not any(key.rstrip("=") in shown for key in (OLD, NEW, DIGEST))
    assert not any(repr(part) in shown for part in (VAULT._digest_key, *VAULT._link_keys))


def test_a_vault_does_not_travel_and_does_not_change() -> None:
    with pytest.raises(TypeError, match="never pickled"):
        pickle.dumps(VAULT)
    with pytest.raises(FrozenInstanceError):
        VAULT._digest_key = b""  # type: ignore[misc]
