"""What must stay secret: encryption with keys that rotate, digests with a key that never does, and signed links.

A `Vault` holds the keys of one installation. Ciphertexts are bound to what they are for and to whom they belong, so one
that is copied into another row is refused. No key is ever printed: a vault's `repr` counts them, and it cannot be pickled.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import time
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, NoReturn, Self

import idna
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from itsdangerous import BadData, URLSafeSerializer

SECRET_KEYS: Final = "RETOUR_SECRET_KEYS"  # noqa: S105 - the name of a variable
DIGEST_KEY: Final = "RETOUR_DIGEST_KEY"
_HOW: Final = 'make one with: python -c "import secrets; print(secrets.token_urlsafe(32))"'
_KEY = re.compile(r"[A-Za-z0-9_-]{43}=?", re.ASCII)
_SKEW: Final = timedelta(minutes=10)  # how far the clocks of two of our machines may be apart
_LONGEST_LINK: Final = 4096


class UnusableKey(ValueError):
    """A key is missing, too short or malformed; the message names the variable and says how to make one."""


class Unreadable(Exception):
    """A ciphertext cannot be opened here."""


class NoKeyOpens(Unreadable):
    """None of the keys opens it: its key was taken off the list too early, or somebody changed it."""


class Misplaced(Unreadable):
    """It opens, but it is for another purpose or belongs to somebody else: it was copied here."""


class BadLink(Exception):
    """A link that we did not sign, or not for this."""


class ExpiredLink(BadLink):
    """A link of ours whose time is over."""


def new_key() -> str:
    """A fresh key, good for every list and for the digest key: 32 random bytes in URL-safe base64."""
    return Fernet.generate_key().decode("ascii")


def canonical_email(text: str) -> str:
    """The form in which two spellings of one mailbox are equal.

    NFKC, lower case, without blanks and invisible characters around it, the domain in punycode without a final dot.
    Plus tags and dots stay, and look-alike letters differ: they are other mailboxes.
    """
    typed = _trimmed(unicodedata.normalize("NFKC", text))
    local, at, domain = typed.rpartition("@")
    lowered = unicodedata.normalize("NFKC", local.lower())  # not case-folded: straße and strasse are two mailboxes
    return f"{lowered}@{_punycode(domain)}" if at else unicodedata.normalize("NFKC", typed.lower())


def canonical_postal_code(text: str) -> str:
    """A postal code's letters and digits, case-folded: `sw1a 1aa` is `SW1A1AA`."""
    return "".join(char for char in unicodedata.normalize("NFKC", text).casefold() if char.isalnum())


def _trimmed(text: str) -> str:
    outside = {char for char in text if char.isspace() or unicodedata.category(char) == "Cf"}
    return text.strip("".join(outside)) if outside else text


def _punycode(domain: str) -> str:
    # Not case-folded first: that would make straße.de and strasse.de, two owners, one.
    try:
        return idna.encode(domain, uts46=True).decode("ascii").removesuffix(".")
    except UnicodeError:  # no domain at all: still a text that has one form
        return domain.casefold().removesuffix(".")


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Vault:
    """The keys of one installation, and all that is done with them. Make it with `Vault.of`."""

    _box: MultiFernet
    _digest_key: bytes
    _link_keys: tuple[bytes, ...]  # oldest first, as itsdangerous wants them
    _clock: Callable[[], float] = field(default=time.time)

    @classmethod
    def of(cls, secret_keys: Sequence[str], digest_key: str, *, clock: Callable[[], float] = time.time) -> Self:
        """The vault of these keys. The first of `secret_keys` encrypts and signs, all decrypt and verify.

        To rotate, put a new key in front; take the old one off once everything is re-encrypted with `rotate` and its
        links are past their age. The digest key never changes: nobody would be found again.

        Raises:
            UnusableKey: a key is missing, too short or malformed, or the digest key is one of the others.
        """
        if not secret_keys:
            raise UnusableKey(f"{SECRET_KEYS} is empty: it needs at least one key; {_HOW}")
        keys = [_raw(key, f"{SECRET_KEYS} (key {place} of {len(secret_keys)})") for place, key in enumerate(secret_keys, start=1)]
        digest = _raw(digest_key, DIGEST_KEY)
        if any(hmac.compare_digest(digest, key) for key in keys):
            raise UnusableKey(f"{DIGEST_KEY} is also one of {SECRET_KEYS}; those rotate and it must not: {_HOW}")
        box = MultiFernet([Fernet(base64.urlsafe_b64encode(key)) for key in keys])
        return cls(box, digest, tuple(_link_key(key) for key in reversed(keys)), clock)

    def __repr__(self) -> str:
        return f"Vault({len(self._link_keys)} keys)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a vault is never pickled: its keys would travel")

    # ── Encryption ──────────────────────────────────────────────────────────────────────────────────────────────────

    def encrypt(self, purpose: str, owner: str, data: str | bytes) -> bytes:
        """A ciphertext that opens only for the same purpose and owner (the id of the row or shop that it belongs to).

        Raises:
            ValueError: no purpose or no owner.
        """
        return self._box.encrypt(_bound(purpose, owner) + (data.encode() if isinstance(data, str) else data))

    def decrypt(self, purpose: str, owner: str, token: bytes) -> str:
        """The text that was encrypted for this purpose and owner. Raises `NoKeyOpens`, `Misplaced`."""
        return self.decrypt_bytes(purpose, owner, token).decode()

    def decrypt_bytes(self, purpose: str, owner: str, token: bytes) -> bytes:
        """The bytes that were encrypted for this purpose and owner. Raises `NoKeyOpens`, `Misplaced`."""
        bound = _bound(purpose, owner)
        try:
            plain = self._box.decrypt(token)
        except InvalidToken:
            raise _no_key_opens(purpose) from None
        if not plain.startswith(bound):
            raise Misplaced(f"a secret kept as {purpose!r} was encrypted for another purpose or owner")
        return plain[len(bound) :]

    def rotate(self, token: bytes) -> bytes:
        """The same secret under the first key. Raises `NoKeyOpens`."""
        try:
            return self._box.rotate(token)
        except InvalidToken:
            raise _no_key_opens("a secret to rotate") from None

    # ── Digests ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def digest(self, purpose: str, text: str) -> str:
        """What finds `text` again without keeping it: 64 hexadecimal characters, different for every purpose."""
        return hmac.digest(self._digest_key, _netstring(purpose) + text.encode("utf-8", "surrogatepass"), hashlib.sha256).hex()

    def email_digest(self, email: str) -> str:
        """The digest of a mailbox, however it was spelled. Nobody's address (an empty one) must not be looked up."""
        return self.digest("email", canonical_email(email))

    def postal_digest(self, code: str) -> str:
        """The digest of a postal code, however it was spelled."""
        return self.digest("postal", canonical_postal_code(code))

    # ── Links ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def sign(self, purpose: str, values: Mapping[str, str]) -> str:
        """A token for a link: `values` are readable by whoever holds it, but not changeable."""
        return str(self._links(purpose).dumps({"at": int(self._clock()), "values": dict(values)}))

    def read(self, purpose: str, token: str, max_age: timedelta) -> dict[str, str]:
        """The values of a token that was signed for this purpose within `max_age`. Raises `BadLink`, `ExpiredLink`."""
        if len(token) > _LONGEST_LINK or not token.isascii():
            raise BadLink("not a token")
        try:
            found = self._links(purpose).loads(token)
        except BadData:
            raise BadLink("not signed for this by any of our keys") from None
        return self._values(found, max_age)

    def seal(self, purpose: str, owner: str, values: Mapping[str, str]) -> str:
        """A token for a link, like `sign`, whose values nobody else can read; it opens only for the same purpose and owner."""
        return self.encrypt(purpose, owner, json.dumps({"at": int(self._clock()), "values": dict(values)})).decode("ascii").rstrip("=")

    def unseal(self, purpose: str, owner: str, token: str, max_age: timedelta) -> dict[str, str]:
        """The values of a token that was sealed for this purpose and owner within `max_age`. Raises `BadLink`, `ExpiredLink`."""
        if len(token) > _LONGEST_LINK or not token.isascii():
            raise BadLink("not a token")
        try:
            found = json.loads(self.decrypt(purpose, owner, token.encode() + b"=" * (-len(token) % 4)))
        except Unreadable:
            raise BadLink("not sealed for this by any of our keys") from None
        return self._values(found, max_age)

    def _values(self, found: Mapping[str, Any], max_age: timedelta) -> dict[str, str]:
        age = timedelta(seconds=self._clock() - found["at"])
        if age < -_SKEW:
            raise BadLink("made in the future")
        if age > max_age:
            raise ExpiredLink(f"made {age} ago, good for {max_age}")
        return {str(name): str(value) for name, value in found["values"].items()}

    def _links(self, purpose: str) -> URLSafeSerializer:
        kind = {"key_derivation": "hmac", "digest_method": hashlib.sha256}
        return URLSafeSerializer(list(self._link_keys), salt=f"retour/{purpose}", signer_kwargs=kind)


def _raw(key: str, name: str) -> bytes:
    """The 32 bytes of a key. Never quotes it."""
    if not key.strip():
        raise UnusableKey(f"{name} is missing; {_HOW}")
    if not _KEY.fullmatch(key.strip()):
        length, wanted = len(key.strip()), "32 random bytes in URL-safe base64, 43 or 44 characters"
        raise UnusableKey(f"{name} is malformed: {length} characters, where {wanted} were expected; {_HOW}")
    return base64.urlsafe_b64decode(key.strip()[:43] + "=")


def _link_key(key: bytes) -> bytes:
    """One list of keys is enough: links are signed with keys derived from those that encrypt, and rotate with them."""
    return base64.urlsafe_b64encode(HKDF(algorithm=SHA256(), length=32, salt=None, info=b"retour/links").derive(key))


def _bound(purpose: str, owner: str) -> bytes:
    if not purpose or not owner:
        raise ValueError("a secret needs a purpose and an owner")
    return _netstring(purpose) + _netstring(owner)


def _netstring(text: str) -> bytes:
    """Says its own length, so that no two sequences of texts look the same."""
    encoded = text.encode()
    return b"%d:%s," % (len(encoded), encoded)


def _no_key_opens(what: str) -> NoKeyOpens:
    return NoKeyOpens(
        f"{what}: no key of {SECRET_KEYS} opens it; an old key was taken off the list too early, or the ciphertext was changed"
    )
