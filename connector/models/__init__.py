"""Rows: columns, constraints and pure properties. No queries, no I/O."""

from connector.models.access import Budget, Link, MailedCode, Role, StaffLink, StaffMember
from connector.models.base import Base
from connector.models.mail import Mail, MailState
from connector.models.money import Alarm, AlarmKind, MoneyKind, ReceiptRow, Refund, Resolution
from connector.models.order import OrderRow
from connector.models.rma import ContactRow, Rma, RmaLine, Units
from connector.models.shop import Install, Policy, Shop, ShopStatus, Spending
from connector.models.sync import Credit, CreditUseRow, HintRow, Sync
from connector.models.timeline import Entry, EntryText, Seal, Unsealed
from connector.models.work import Kind, OutboxRow

__all__ = [
    "Alarm", "AlarmKind", "Base", "Budget", "ContactRow", "Credit", "CreditUseRow", "Entry", "EntryText", "HintRow", "Install", "Kind",
    "Link", "Mail", "MailState", "MailedCode", "MoneyKind", "OrderRow", "OutboxRow", "Policy", "ReceiptRow", "Refund", "Resolution",
    "Rma", "RmaLine", "Role", "Seal", "Shop", "ShopStatus", "Spending", "StaffLink", "StaffMember", "Sync", "Units", "Unsealed",
]  # fmt: skip
