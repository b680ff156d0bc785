"""What an operator is told of a shop."""

from __future__ import annotations

from sqlalchemy import update

from connector import operate
from connector.domain.rma import MoneyState
from connector.models import Refund
from connector.secrets import Vault, new_key
from connector.services import checkup
from tests.services.acts import placed
from tests.world import World, an_order


def test_d2_payments_that_a_person_must_answer_for_are_counted(world: World) -> None:
    world.resolve(world.received(placed(world, an_order()), {"line-1": 1}))
    with world.db.transaction() as session:
        session.execute(update(Refund).values(state=MoneyState.PARKED, parked_because="outcome_unknown"))

    with world.db.reading() as session:
        (standing,) = checkup.shops(session, world.vault)

    assert standing.parked == 1
    assert "1 payment needs a person: answer for it at the desk" in " ".join(operate._needs(standing, world.clock.now))


def test_it_is_known_whether_a_key_opens_the_credentials(world: World) -> None:
    with world.db.reading() as session:
        (mine,) = checkup.shops(session, world.vault)
        (stranger,) = checkup.shops(session, Vault.of([new_key()], new_key()))

    assert (mine.opens, stranger.opens) == (True, False)
