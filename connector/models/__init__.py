"""Rows: columns, constraints and pure properties. No queries, no I/O."""

from connector.models.base import Base
from connector.models.money import Alarm, AlarmKind, MoneyKind, ReceiptRow, Refund, Resolution
from connector.models.order import OrderRow
from connector.models.rma import ContactRow, Rma, RmaLine, Units
from connector.models.shop import Install, Policy, Shop, ShopStatus, Spending
from connector.models.sync import Credit, CreditUseRow, HintRow, Sync
from connector.models.timeline import Entry, EntryText, Seal, Unsealed
from connector.models.work import Kind, OutboxRow

__all__ = [
    "Alarm", "AlarmKind", "Base", "ContactRow", "Credit", "CreditUseRow", "Entry", "EntryText", "HintRow", "Install", "Kind", "MoneyKind",
    "OrderRow", "OutboxRow", "Policy", "ReceiptRow", "Refund", "Resolution", "Rma", "RmaLine", "Seal", "Shop", "ShopStatus", "Spending",
    "Sync", "Units", "Unsealed",
]  # fmt: skip
