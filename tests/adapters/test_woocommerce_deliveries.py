"""The webhooks that we keep in a store, and what they bring: made, mended, taken back, and nobody else's touched."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pytest

from adapters.simulators.woocommerce import Fault, Kind, webhooks
from adapters.woocommerce.deliveries import TOPICS
from adapters.woocommerce.platform import WooPlatform
from adapters.woocommerce.store import WooStore
from connector.domain.connecting import Hint
from connector.domain.orders import OrderRef
from connector.domain.platform import HttpRequest, OutcomeUnknown, Revoked, Throttled
from tests.adapters import far
from tests.adapters.far import Far, http
from tests.adapters.woo_reading import DOOR, SECRET, Read, reading

ALL_NEW: Final = tuple(f"{topic}: created" for topic in TOPICS)


@pytest.fixture
def read() -> Iterator[Read]:
    with reading() as found:
        yield found


@pytest.fixture
def us() -> Iterator[Far]:
    """Where deliveries come to."""
    with far.serving(http("", "200 OK")) as found:
        yield found


def base(us: Far) -> str:
    return f"http://127.0.0.1:{us.port}"


def there(read: Read) -> list[dict[str, Any]]:
    return read.shop.webhooks()


def somebody(read: Read, url: str, topic: str = "order.updated", **more: str) -> int:
    """Somebody else's webhook, or one that we once made."""
    owner = read.shop.add_user("owner")
    return int(webhooks.create(read.shop.site, {"topic": topic, "delivery_url": url, "secret": "theirs", **more}, owner)["id"])


def as_it_came(raw: bytes) -> HttpRequest:
    """A request of the wire."""
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = tuple((name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines))
    return HttpRequest("POST", f"https://retour.example{first.split()[1]}", headers, body)


def test_one_webhook_for_each_topic_is_made_and_a_second_time_none(read: Read, us: Far) -> None:
    store = read.store()

    first, second = store.ensure_webhooks(f"{base(us)}/"), read.store().ensure_webhooks(base(us))

    assert (first.active, first.mended) == (True, ALL_NEW)
    assert (second.active, second.mended) == (True, ())
    assert [each["topic"] for each in there(read)] == list(TOPICS)
    assert {(each["delivery_url"], each["secret"], each["status"]) for each in there(read)} == {
        (f"{base(us)}/webhooks/woocommerce/{DOOR}", SECRET, "active")
    }
    assert len(read.asked("/webhooks", "POST")) == len(TOPICS)


def test_a_name_does_not_give_the_secret_away(read: Read, us: Far) -> None:
    read.store().ensure_webhooks(base(us))

    assert not any(word in each["name"] for word in (SECRET, DOOR, *read.keys) for each in there(read))


def test_what_the_webhooks_bring_is_proven_and_is_about_the_order(read: Read, us: Far) -> None:
    platform = WooPlatform(dev=True)
    read.store().ensure_webhooks(base(us))
    pings = [as_it_came(raw) for raw in us.requests]
    assert {platform.read_webhook(each, [SECRET.encode()]).topic for each in pings} == {""}

    us.requests.clear()
    (ref,) = read.place()
    read.shop.refund_in_admin(int(ref), "1.00")
    read.shop.trash(int(ref))
    read.shop.untrash(int(ref))
    read.shop.scheduler_tick()

    came = [as_it_came(raw) for raw in us.requests]
    events = {platform.read_webhook(each, [b"another", SECRET.encode()]).topic: each for each in came}
    assert set(events) == set(TOPICS)
    assert {platform.claimed_shop(each).path_token for each in came} == {DOOR}
    assert {topic: platform.hint(topic, each.body) for topic, each in events.items()} == {
        "order.created": Hint(OrderRef(ref)),
        "order.updated": Hint(OrderRef(ref)),
        "order.deleted": Hint(OrderRef(ref)),
        "order.restored": Hint(OrderRef(ref)),
        "action.woocommerce_refund_created": Hint(sweep=True),
    }


def test_a_delivery_whose_owner_lost_his_rights_is_proven_and_says_what_is_wrong(read: Read, us: Far) -> None:
    platform = WooPlatform(dev=True)
    read.store().ensure_webhooks(base(us))
    us.requests.clear()
    read.place()
    read.shop.demote()
    read.shop.scheduler_tick()

    came = as_it_came(us.requests[0])
    topic = platform.read_webhook(came, [SECRET.encode()]).topic
    assert platform.hint(topic, came.body) == Hint(sweep=True, trouble="woocommerce_rest_cannot_view")


def heir(read: Read, **more: str) -> WooStore:
    """Kim, whose key made our webhooks, has left; the store of Sam, who connected it anew."""
    read.shop.add_user("sam")
    key, secret = read.shop.add_key(user="sam")
    read.shop.demote()
    return read.store(None, consumer_key=key, consumer_secret=secret, **more)


def test_f27_whoever_made_the_webhooks_leaves_and_they_are_made_anew_with_the_key_of_the_next(read: Read, us: Far) -> None:
    read.store().ensure_webhooks(base(us))
    before = {each["id"] for each in there(read)}
    store = heir(read)
    earlier = len(read.shop.requests)

    health = store.ensure_webhooks(base(us))

    assert (health.active, health.mended) == (True, tuple(f"{topic}: made anew" for topic in TOPICS))
    assert before.isdisjoint(each["id"] for each in there(read))
    assert {(each["owner"], each["delivery_url"], each["secret"]) for each in there(read)} == {
        (read.shop.add_user("sam"), f"{base(us)}/webhooks/woocommerce/{DOOR}", SECRET)
    }
    writes = [each.method for each in read.shop.requests[earlier:] if each.method != "GET"]
    assert writes == ["POST", "DELETE"] * len(TOPICS)  # no topic is without a webhook at any time
    assert store.ensure_webhooks(base(us)).mended == ()
    us.requests.clear()
    (ref,) = read.place()
    read.shop.scheduler_tick()
    platform = WooPlatform(dev=True)
    for came in map(as_it_came, us.requests):
        assert platform.hint(platform.read_webhook(came, [SECRET.encode()]).topic, came.body) == Hint(OrderRef(ref))


@pytest.mark.parametrize("where", ["POST webhooks", "DELETE webhook"])
def test_f10_who_dies_while_they_are_made_anew_leaves_none_of_the_old_ones_in_the_end(read: Read, us: Far, where: str) -> None:
    read.store().ensure_webhooks(base(us))
    store = heir(read)
    read.shop.fail_next(where, Fault(Kind.LOSE_ANSWER))
    with pytest.raises(OutcomeUnknown):
        store.ensure_webhooks(base(us))
    assert {each["topic"] for each in there(read)} == set(TOPICS)

    assert store.ensure_webhooks(base(us)).active

    assert [each["topic"] for each in there(read)] == list(TOPICS)
    assert {each["owner"] for each in there(read)} == {read.shop.add_user("sam")}


def test_webhooks_that_are_named_by_the_older_rule_are_replaced_once(read: Read, us: Far) -> None:
    store = read.store()
    store.ensure_webhooks(base(us))
    for each in there(read):
        webhooks.change(read.shop.site, each["id"], {"name": each["name"].rpartition(" ")[0]})

    assert store.ensure_webhooks(base(us)).mended == tuple(f"{topic}: made anew" for topic in TOPICS)
    assert store.ensure_webhooks(base(us)).mended == ()
    assert [each["topic"] for each in there(read)] == list(TOPICS)


def test_another_key_and_another_secret_at_once_are_one_change(read: Read, us: Far) -> None:
    read.store().ensure_webhooks("http://127.0.0.1:9/before")
    store = heir(read, delivery_secret="another-secret")

    assert store.ensure_webhooks(base(us)).mended == tuple(f"{topic}: made anew" for topic in TOPICS)

    assert {(each["secret"], each["delivery_url"]) for each in there(read)} == {
        ("another-secret", f"{base(us)}/webhooks/woocommerce/{DOOR}")
    }
    assert store.ensure_webhooks(base(us)).mended == ()


def test_ours_are_found_on_a_second_page(read: Read, us: Far) -> None:
    read.store().ensure_webhooks(base(us))
    for number in range(130):  # newest first, so that ours lie behind
        somebody(read, f"https://other.example/{number}")

    health = read.store().ensure_webhooks(base(us))

    assert health.mended == ()
    assert len(there(read)) == 130 + len(TOPICS)


def test_f38_webhooks_that_seven_failures_switched_off_are_switched_on_again(read: Read, us: Far) -> None:
    store = read.store()
    store.ensure_webhooks(base(us))
    us.says[:] = [http("", "503 Service Unavailable")]
    read.place(7)
    read.shop.scheduler_tick()
    off = {each["topic"] for each in there(read) if each["status"] == "disabled"}
    assert "order.created" in off

    us.says[:] = [http("", "200 OK")]
    health = store.ensure_webhooks(base(us))

    assert health.active
    assert set(health.mended) == {f"{topic}: enabled" for topic in off}
    assert {each["status"] for each in there(read)} == {"active"}
    us.requests.clear()
    read.place()
    read.shop.scheduler_tick()
    assert {each["failures"] for each in there(read) if each["topic"] == "order.created"} == {0}


@pytest.mark.parametrize("status", ["paused", "disabled"])
def test_one_that_was_switched_off_by_hand_is_switched_on_with_its_secret(read: Read, us: Far, status: str) -> None:
    store = read.store()
    store.ensure_webhooks(base(us))
    ref = there(read)[0]["id"]
    webhooks.change(read.shop.site, ref, {"status": status, "secret": "the merchant's"})

    assert store.ensure_webhooks(base(us)).mended == (f"{TOPICS[0]}: enabled",)
    assert (there(read)[0]["status"], there(read)[0]["secret"]) == ("active", SECRET)


def test_an_address_that_we_had_before_is_moved_from(read: Read, us: Far) -> None:
    read.store().ensure_webhooks("http://127.0.0.1:9/before")
    before = [each["id"] for each in there(read)]

    health = read.store().ensure_webhooks(base(us))

    assert health.mended == tuple(f"{topic}: moved" for topic in TOPICS)
    assert [each["id"] for each in there(read)] == before
    assert {each["delivery_url"] for each in there(read)} == {f"{base(us)}/webhooks/woocommerce/{DOOR}"}


def test_a13_another_secret_is_given_to_each(read: Read, us: Far) -> None:
    read.store().ensure_webhooks(base(us))

    health = read.store(delivery_secret="another-secret").ensure_webhooks(base(us))

    assert health.mended == tuple(f"{topic}: signed anew" for topic in TOPICS)
    assert {each["secret"] for each in there(read)} == {"another-secret"}
    assert read.store(delivery_secret="another-secret").ensure_webhooks(base(us)).mended == ()


def test_doubles_and_topics_that_we_do_not_want_are_deleted_and_the_oldest_stays(read: Read, us: Far) -> None:
    store = read.store()
    store.ensure_webhooks(base(us))
    first = [each["id"] for each in there(read)]
    address = there(read)[0]["delivery_url"]
    for topic in ("order.updated", "order.created", "product.updated", "coupon.updated"):
        somebody(read, address, topic)

    health = store.ensure_webhooks(base(us))

    assert set(health.mended) == {f"{topic}: deleted" for topic in ("order.updated", "order.created", "product.updated", "coupon.updated")}
    assert [each["id"] for each in there(read)] == first


_OTHERS: Final = (
    "https://other.example/webhooks/woocommerce/another-door",
    "https://other.example/hook?to=/webhooks/woocommerce/" + DOOR,
    f"https://other.example/webhooks/woocommerce/{DOOR}/more",
    f"https://other.example/webhooks/woocommerce/x{DOOR}",
    f"https://other.example/webhooks/shopify/{DOOR}",
    "https://[broken/",
    "https://other.example/#x",
)


def test_what_is_somebody_elses_is_left_alone_however_it_looks(read: Read, us: Far) -> None:
    for url in _OTHERS:
        ref = somebody(read, "https://other.example/", name="Somebody's")
        read.shop.site.shelves.put("webhook", {**there(read)[-1], "delivery_url": url}, name="order.updated")
        assert there(read)[-1]["id"] == ref
    before = there(read)
    store = read.store()

    health = store.ensure_webhooks(base(us))
    assert health.mended == ALL_NEW
    store.leave()

    assert there(read) == before


def test_a36_a_list_with_a_webhook_that_makes_no_sense_holds_up_nothing(us: Far) -> None:
    odd = '[{"id": 1, "delivery_url": null}, {"id": 2}, {"id": 3, "delivery_url": 5, "topic": []}]'
    with reading() as read:
        read.shop.fail_next("GET webhooks", Fault(Kind.ANSWER, words=odd, content_type="application/json"))

        assert read.store().ensure_webhooks(base(us)).mended == ALL_NEW


def test_who_leaves_takes_all_of_ours_and_may_leave_twice(read: Read, us: Far) -> None:
    store = read.store()
    store.ensure_webhooks("http://127.0.0.1:9")
    somebody(read, f"{base(us)}/webhooks/woocommerce/{DOOR}", "product.updated")

    store.leave()
    store.leave()

    assert there(read) == []


def test_who_never_had_a_door_takes_nothing(read: Read) -> None:
    somebody(read, "https://other.example/webhooks/woocommerce/")

    read.store(door="").leave()

    assert len(there(read)) == 1


def test_f27_a_store_that_was_left_says_so(read: Read, us: Far) -> None:
    store = read.store()
    store.ensure_webhooks(base(us))
    read.shop.revoke(read.keys[0])

    with pytest.raises(Revoked):
        store.ensure_webhooks(base(us))
    with pytest.raises(Revoked):
        store.leave()
    assert len(there(read)) == len(TOPICS)


@pytest.mark.parametrize("fault", [Fault(Kind.LOSE_ANSWER), Fault(Kind.TRUNCATE), Fault(Kind.PAGE, status=502, effect=True)])
def test_f10_a_webhook_whose_making_was_never_confirmed_is_found_the_next_time(read: Read, us: Far, fault: Fault) -> None:
    store = read.store()
    read.shop.fail_next("POST webhooks", fault)
    with pytest.raises(OutcomeUnknown):
        store.ensure_webhooks(base(us))

    health = store.ensure_webhooks(base(us))

    assert health.active
    assert sorted(each["topic"] for each in there(read)) == sorted(TOPICS)


def test_two_at_once_end_with_one_webhook_for_each_topic(read: Read, us: Far) -> None:
    """Another run made its own between our look and our making."""
    address = f"{base(us)}/webhooks/woocommerce/{DOOR}"
    read.store().ensure_webhooks(base(us))
    for topic in TOPICS:
        somebody(read, address, topic)

    read.store().ensure_webhooks(base(us))
    assert read.store().ensure_webhooks(base(us)).mended == ()
    assert sorted(each["topic"] for each in there(read)) == sorted(TOPICS)


def test_one_that_is_gone_when_it_is_to_be_deleted_is_no_error(read: Read, us: Far) -> None:
    store = read.store()
    store.ensure_webhooks(base(us))
    gone = '{"code":"woocommerce_rest_shop_webhook_invalid_id","message":"x","data":{"status":404}}'
    read.shop.fail_next("DELETE webhook", Fault(Kind.ANSWER, words=gone, status=404, content_type="application/json"))

    store.leave()

    assert len(there(read)) == 1


def test_f11_a_store_that_is_busy_is_asked_later(read: Read, us: Far) -> None:
    read.shop.fail_next("webhooks", Fault(Kind.PAGE, status=429, retry_after="7"))

    with pytest.raises(Throttled) as busy:
        read.store().ensure_webhooks(base(us))

    assert busy.value.retry_after.total_seconds() == 7
    assert there(read) == []
