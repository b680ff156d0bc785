"""The RMA number: seven random characters and a check character, short enough to read aloud.

The alphabet has no 0, 1, I, L or O, and 31 characters, a prime: ISO 7064's "mod 2" scheme over it catches every single
wrong character and every swap of two neighbours. The number proves nothing about who holds it: it is printed on the parcel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from stdnum.iso7064 import mod_37_2

ALPHABET: Final = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"
LENGTH: Final = 8
RANDOM: Final = LENGTH - 1  # 31 ** 7: 34.7 bits
_LONGEST: Final = 80  # nobody types more; a prefix has at most 20 characters
# What people and their keyboards put between groups: hyphens, dashes, and the invisible characters that copying brings along.
_BETWEEN: Final = frozenset("-\u00ad\u2010\u2011\u2012\u2013\u2014\u2212\u200b\u2060\ufeff")


def draw(random_below: Callable[[int], int]) -> str:
    """A fresh number. `random_below(n)` gives a uniform whole number of 0 … n-1: pass `secrets.randbelow`.

    Unique it is not by itself: the caller's unique index is, and draws again.
    """
    body = "".join(ALPHABET[random_below(len(ALPHABET))] for _ in range(RANDOM))
    return body + mod_37_2.calc_check_digit(body, ALPHABET)


def check(text: str) -> bool:
    """Whether `text` is a number exactly as `draw` makes them."""
    return len(text) == LENGTH and mod_37_2.is_valid(text, ALPHABET)


def read(text: str, *, prefix: str = "") -> str | None:
    """The number that a person typed, or None.

    Case, blanks, hyphens, a leading `#` or `RMA` and the merchant's display prefix do not matter. Characters that are not
    in the alphabet (I, L, O, 0, 1) are never replaced by what they look like: a wrong number is refused, not guessed.
    """
    if len(text) > _LONGEST:
        return None
    typed = _bare(text)
    for shown in ("", _bare(prefix), "RMA"):
        number = typed.removeprefix(shown)
        if check(number):
            return number
    return None


def show(number: str) -> str:
    """For people: `ABCD-EFGH`."""
    return f"{number[:4]}-{number[4:]}"


def _bare(text: str) -> str:
    # ASCII only: `str.upper` would turn a long s into S and a dotless i into I.
    kept = "".join(char for char in text if not (char.isspace() or char in _BETWEEN))
    return "".join(char.upper() if char.isascii() else char for char in kept).removeprefix("#")
