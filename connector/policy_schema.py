"""The tables and keys of a policy file, format 1, and the domain values that they become."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

from marshmallow import Schema, ValidationError, fields, post_load, validates_schema

from connector.domain.money import Money
from connector.domain.policy import Refusal
from connector.domain.terms import Authorise, FeeTerms, Limits, NotReturnable, Outcome, Policy, Resolution, Start, Window
from connector.policy_fields import (
    Expected,
    Key,
    code,
    day,
    fault,
    figure,
    figures,
    one_of,
    percent,
    several,
    text,
    truth,
    whole,
)


@dataclass(frozen=True, slots=True)
class Example:
    """One test case of a policy file: an order of one line, a claim, and what should come of it. `price` is of one unit."""

    name: str
    today: date
    expect: Outcome
    delivered: date | None
    fulfilled: date | None
    placed: date | None
    bought: int
    claimed: int
    taken: int
    price: Money
    reason: str | None
    type: str
    tags: tuple[str, ...]
    sku: str
    paid: bool
    cancelled: bool
    refusals: tuple[Refusal, ...] | None
    refund: Money | None


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """A policy and the test cases that its file holds."""

    policy: Policy
    examples: tuple[Example, ...]


class _Table(Schema):
    """A table that knows its keys and refuses others."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - marshmallow's
        super().__init__(**options)
        known = ", ".join(field.data_key or name for name, field in self.fields.items())
        self.error_messages = {"type": fault(Expected.TABLE, known), "unknown": fault(Expected.KNOWN_KEY, known)}


class _Window(_Table):
    days = Key(whole(0, 3650))
    starts = Key(several(one_of(*Start), least=1), data_key="from")
    undated = Key(one_of(Outcome.ALLOW, Outcome.REFUSE, Outcome.PERSON))

    @post_load
    def make(self, found: dict[str, Any], **_: object) -> Window:
        return Window(**found)


class _FinalSale(_Table):
    tags = Key(several(text))


class _NotReturnable(_Table):
    types = Key(several(text))
    tags = Key(several(text))
    skus = Key(several(text))

    @post_load
    def make(self, found: dict[str, Any], **_: object) -> NotReturnable:
        return NotReturnable(**found)


class _ReturnShippingFee(_Table):
    amounts = Key(figures, data_key="amount")
    free_for = Key(several(code))

    @post_load
    def make(self, found: dict[str, Any], **_: object) -> FeeTerms:
        return FeeTerms(**found | {"free_for": frozenset(found.get("free_for", ()))})


class _RestockingFee(_ReturnShippingFee):
    percent = Key(percent)

    @validates_schema(skip_on_field_errors=False)
    def one_kind(self, found: dict[str, Any], **_: object) -> None:
        if {"percent", "amounts"} <= found.keys():
            raise ValidationError(fault(Expected.ONLY_ONE, "percent, amount"), "amount")


class _Authorise(_Table):
    automatic = Key(truth)
    up_to = Key(figures)

    @post_load
    def make(self, found: dict[str, Any], **_: object) -> Authorise:
        return Authorise(**found)


class _Limits(_Table):
    confirm_above = Key(figures)
    daily_cap = Key(figures)

    @post_load
    def make(self, found: dict[str, Any], **_: object) -> Limits:
        return Limits(**found)


class _StoreCredit(_Table):
    bonus_percent = Key(percent)


class _Example(_Table):
    name = Key(text, required=True)
    today = Key(day, required=True)
    expect = Key(one_of(Outcome.ALLOW, Outcome.REFUSE, Outcome.PERSON), required=True)
    delivered = Key(day, load_default=None)
    fulfilled = Key(day, load_default=None)
    placed = Key(day, load_default=None)
    bought = Key(whole(0, 10_000), load_default=1)
    claimed = Key(whole(-10_000, 10_000), load_default=1)
    taken = Key(whole(0, 10_000), load_default=0)
    price = Key(figure, load_default=Money(0, "EUR"))
    reason = Key(code, load_default=None)
    type = Key(text, load_default="")
    tags = Key(several(text), load_default=())
    sku = Key(text, load_default="")
    paid = Key(truth, load_default=True)
    cancelled = Key(truth, load_default=False)
    refusals = Key(several(one_of(*Refusal)), load_default=None)
    refund = Key(figure, load_default=None)

    @validates_schema(skip_on_field_errors=True)
    def one_currency(self, found: dict[str, Any], **_: object) -> None:
        if found["refund"] is not None and found["refund"].currency != found["price"].currency:
            raise ValidationError(fault(Expected.CURRENCY, found["price"].currency), "refund")

    @post_load
    def make(self, found: dict[str, Any], **_: object) -> Example:
        return Example(**found)


class FileTable(_Table):
    """The whole file. What it does not mention is as in `Policy()`."""

    format = Key(whole(1, 1), required=True)
    reasons = Key(several(code))
    resolutions = Key(several(one_of(*Resolution), least=1))
    expiry_days = Key(whole(1, 365), data_key="expires_after_days")
    window = fields.Nested(_Window)
    final_sale = fields.Nested(_FinalSale)
    not_returnable = fields.Nested(_NotReturnable)
    restocking = fields.Nested(_RestockingFee, data_key="restocking_fee")
    return_shipping = fields.Nested(_ReturnShippingFee, data_key="return_shipping_fee")
    authorise = fields.Nested(_Authorise)
    limits = fields.Nested(_Limits)
    store_credit = fields.Nested(_StoreCredit)
    test = fields.List(fields.Nested(_Example), error_messages={"invalid": fault(Expected.TABLES, "[[test]]")})

    @validates_schema(skip_on_field_errors=False)
    def free_reasons_exist(self, found: dict[str, Any], **_: object) -> None:
        """A fee that is free for a reason which nobody can give is a slip of the pen."""
        known: tuple[str, ...] = found.get("reasons", ())
        faults: dict[str, Any] = {}
        for table, key in (("restocking", "restocking_fee"), ("return_shipping", "return_shipping_fee")):
            terms = found.get(table)
            if known and isinstance(terms, FeeTerms) and terms.free_for - set(known):
                faults[key] = {"free_for": [fault(Expected.ONE_OF, ", ".join(known))]}
        if faults:
            raise ValidationError(faults)

    @post_load
    def make(self, found: dict[str, Any], **_: object) -> PolicyFile:
        """The policy, and what its file holds beside it."""
        named = {key: value for key, value in found.items() if key not in {"format", "final_sale", "store_credit", "test"}}
        tags = found.get("final_sale", {}).get("tags", ())
        return PolicyFile(Policy(**named, final_sale_tags=tags, **found.get("store_credit", {})), tuple(found.get("test", ())))
