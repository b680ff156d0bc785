"""Who works at a shop's desk, for an operator: `retour staff` invites, lists and removes."""

from __future__ import annotations

import click

from connector import links, wiring
from connector.config import Settings
from connector.models import Role, Shop
from connector.operate import WHO, _connected, _opened
from connector.services import mails, staff
from connector.services.mails import Event

_ROLES = click.Choice([role.value for role in Role])


@click.group("staff")
def group() -> None:
    """Invite people to a shop's desk, list them, remove them."""


@group.command()
@click.argument("shop")
@click.argument("email")
@click.option(
    "--role", type=_ROLES, default=Role.HANDLE.value, show_default=True, help="What they may do; each may do what those before it may."
)
@click.option("--print-link", is_flag=True, help="Print the link instead of mailing it.")
def invite(shop: str, email: str, role: str, *, print_link: bool) -> None:
    """Invite EMAIL to the desk of SHOP (its address, as `retour shop list` names it), or give them another role."""
    settings = Settings.from_env()
    with _opened(settings) as database:
        keys, vault = _connected(database, shop), wiring.vault(settings)
        with database.transaction() as session:
            now, handle = database.now(session), session.get_one(Shop, keys.id).handle
            if handle is None:
                raise click.ClickException(f"{shop} was connected by an older version and has no desk yet: connect it again")
            try:
                member = staff.invite(session, keys.id, email, Role(role), by=WHO, vault=vault, now=now)
            except staff.NoAddress as trouble:
                raise click.BadParameter(str(trouble), param_hint="EMAIL") from trouble
            secret = staff.link(session, member.id, vault=vault, now=now)
            mailed = bool(settings.smtp_url) and not print_link
            if mailed:
                mails.to(session, Event.SIGN_IN, {"email": member.email, "secret": secret}, shop=keys.id, vault=vault, now=now)
    click.echo(f"Invited: {staff.masked(member.email)} may {_may(Role(role))} at the desk of {keys.domain}.")
    if mailed:
        click.echo("A link is on its way to them. It signs them in once, within 30 minutes; later they ask for another at the desk itself:")
        click.echo(f"{settings.base_url}{links.desk(handle)}")
    else:
        click.echo("Hand this link to them, and to nobody else. It signs in once, within 30 minutes:")
        click.echo(f"{settings.base_url}{links.sign_in(handle, secret)}")


@group.command("list")
@click.argument("shop")
def list_them(shop: str) -> None:
    """List who works at the desk of SHOP. Addresses are cut: who is meant knows."""
    settings = Settings.from_env()
    with _opened(settings) as database:
        keys = _connected(database, shop)
        with database.reading() as session:
            members = staff.of(session, keys.id, vault=wiring.vault(settings))
    for member in members:
        click.echo(f"{staff.masked(member.email)}: {member.role.value} ({_may(member.role)}), since {member.since.date().isoformat()}")
    if not members:
        click.echo(
            f"Nobody works at the desk of {keys.domain}. `retour staff invite {keys.domain} EMAIL --role settings` lets the first one in."
        )


@group.command()
@click.argument("shop")
@click.argument("email")
def remove(shop: str, email: str) -> None:
    """Remove EMAIL from the desk of SHOP. Their visits end at once, and links that went out open nothing."""
    settings = Settings.from_env()
    with _opened(settings) as database:
        keys = _connected(database, shop)
        try:
            with database.transaction() as session:
                member = staff.remove(session, keys.id, email, by=WHO, vault=wiring.vault(settings), now=database.now(session))
        except staff.NotStaff as nobody:
            raise click.ClickException(
                f"nobody with this address works there; `retour staff list {keys.domain}` shows who does"
            ) from nobody
    click.echo(f"Removed: {staff.masked(member.email)}. What they did stays in the history of each return.")


def _may(role: Role) -> str:
    """What a role may do, in words."""
    return {
        Role.VIEW: "look",
        Role.HANDLE: "authorise, receive and inspect",
        Role.MONEY: "authorise, receive, inspect and decide money",
        Role.SETTINGS: "do everything",
    }[role]
