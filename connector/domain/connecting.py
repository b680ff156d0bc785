"""What connecting a shop and listening to it is made of: misfortunes with a name, facts, hints, and used store credit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from connector.domain.money import Money
from connector.domain.orders import OrderRef

# What the last probe found, as an adapter wants to see it again: nothing secret and nothing personal, texts by name.
Facts: TypeAlias = Mapping[str, str]


class Misfortune(StrEnum):
    """Why a shop cannot be connected, or does not work as it should. A page has one sentence for each, which says what to do."""

    BAD_ADDRESS = "bad_address"  # no address of a store
    PRIVATE_ADDRESS = "private_address"  # it lies in a network that is not public
    UNREACHABLE = "unreachable"  # no such name, nobody answers there, or the connection breaks
    BAD_CERTIFICATE = "bad_certificate"
    NO_TLS = "no_tls"  # http only
    SLOW = "slow"  # no answer within the deadline
    MAINTENANCE = "maintenance"
    BLOCKED = "blocked"  # a firewall, a bot check or a security plugin answers in the store's place
    NO_REST = "no_rest"  # no WordPress REST interface is there
    NO_WOOCOMMERCE = "no_woocommerce"  # WordPress, but not the wc/v3 interface
    PLAIN_PERMALINKS = "plain_permalinks"
    STRIPPED_AUTHORIZATION = "stripped_authorization"  # the server drops the Authorization header, and keys in the address work
    TLS_AT_PROXY = "tls_at_proxy"  # the store thinks that https is http
    WRONG_KEYS = "wrong_keys"
    READ_ONLY_KEYS = "read_only_keys"
    TOO_FEW_RIGHTS = "too_few_rights"  # the person behind the keys may not manage the shop
    OTHER_STORE = "other_store"  # the keys belong to a store at another address
    TOO_OLD = "too_old"
    UNREADABLE = "unreadable"  # its answers are not what this platform answers


class NotConnectable(Exception):
    """The shop cannot be connected, or cannot be used now: why, and the far side's own fact where one helps (a version, an address)."""

    def __init__(self, why: Misfortune, detail: str = "") -> None:
        """`detail` holds nothing secret and nothing personal."""
        super().__init__(f"{why.value}: {detail}" if detail else why.value)
        self.why, self.detail = why, detail


@dataclass(frozen=True, slots=True)
class Hint:
    """What a delivery is about: an order to read again, or, where it does not say which, everything that changed of late.

    `trouble` is the code of an error that came in place of an order: the delivery was signed, and its sender may not see what it is about.
    A hint of nothing (all empty) is one to forget.
    """

    order: OrderRef | None = None
    sweep: bool = False
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class UsedCredit:
    """Store credit of ours that was seen in an order: its code, the order, and the code under which its rest is to be issued again."""

    code: str
    order: OrderRef
    next_code: str
    worth: Money  # what the code was issued for, as the platform counts it


class CreditUse(StrEnum):
    """What became of used store credit."""

    WAITING = "waiting"  # the order is not paid: it may still be given up
    GIVEN_BACK = "given_back"  # the order was cancelled before anything was issued again: the code is whole
    SPENT = "spent"  # all of it
    REISSUED = "reissued"  # partly spent: the rest has a code of its own, and the old one is lowered to what was spent
    TWICE = "twice"  # it was given back, spent elsewhere, and then the first order came to life again: a person has to look


@dataclass(frozen=True, slots=True)
class CreditRest:
    """The outcome. `rest` is the worth of the new code, zero where there is none."""

    use: CreditUse
    rest: Money
