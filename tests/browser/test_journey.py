"""The demo's main job, clicked through in a real browser: a shopper on a phone, staff at both widths, and everything that they see."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest
from playwright.sync_api import Browser, Page

from tests.browsers import WIDTHS, Person, chromium
from tests.demos import Demo, demo, free_port

pytestmark = pytest.mark.timeout(400)
KIM = "kim@example.com"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def running(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """One demo for all of these; each test takes orders of its own."""
    with demo(Path(tmp_path_factory.mktemp("browser")) / "demo", free_port()) as found:
        found.up()
        yield found


@pytest.fixture(params=sorted(WIDTHS))
def shopper(request: pytest.FixtureRequest, browser: Browser, running: Demo) -> Iterator[Person]:
    """With no cookie to show for it at the end."""
    person = Person.at(browser, request.param)
    yield person
    assert person.context.cookies() == []
    person.context.close()


def find(person: Person, running: Demo, order: str, email: str = KIM) -> None:
    person.page.goto(running.address("As a shopper"))
    person.page.get_by_label("Order number", exact=True).fill(order)
    person.page.get_by_label("E-mail address").fill(email)
    person.press("Find my order")


def ask(person: Person, *, reason: str, resolution: str, button: str) -> str:
    """From the items to a return; gives its number."""
    person.page.locator("select").first.select_option("1")
    person.press("Continue")
    person.page.get_by_label(reason).first.check(force=True)
    person.press("Continue")
    person.page.get_by_label(resolution).first.check(force=True)
    person.press("Continue")
    person.press(button)
    return re.sub(r"\W", "", person.page.locator(".number").first.inner_text())


def test_o1_a_return_is_clicked_through_from_the_order_to_the_money(shopper: Person, browser: Browser, running: Demo) -> None:
    shopper.page.goto(running.address("As a shopper"))
    shopper.look("portal-find")
    find(shopper, running, "1042", "nobody@example.com")
    shopper.look("portal-find-missed")
    find(shopper, running, "1042")
    shopper.look("portal-items")
    shopper.press("Continue")
    shopper.look("portal-items-none-chosen")
    shopper.page.locator("select").first.select_option("1")
    shopper.press("Continue")
    shopper.look("portal-reasons")
    shopper.page.get_by_label("Too small").check(force=True)
    shopper.press("Continue")
    shopper.look("portal-resolution")
    assert "€30.20" in shopper.reads()
    shopper.page.get_by_label("Refund").first.check(force=True)
    shopper.press("Continue")
    shopper.look("portal-review")
    shopper.press("Start my return")
    shopper.look("portal-status-authorised")
    number = re.sub(r"\W", "", shopper.page.locator(".number").first.inner_text())
    status = shopper.page.url

    staff = Person.at(browser, shopper.name)
    enter(staff, running)
    pay(staff, running, number)

    shopper.page.goto(status)
    assert "€30.20" in shopper.reads()
    shopper.look("portal-status-paid")
    staff.page.goto(running.address("The shop"))
    assert "30.20" in staff.page.locator("table").first.inner_text()
    staff.look("demo-shop")
    staff.page.goto(running.address("The mailbox"))
    staff.look("demo-mailbox")
    staff.page.get_by_role("link", name=re.compile("is authorised")).first.click()
    staff.look("demo-message")
    staff.context.close()


def enter(staff: Person, running: Demo) -> None:
    """The link of the demo works once; later ones come by mail."""
    desk = running.address("As the merchant").partition("/enter")[0]
    staff.page.goto(desk)
    if not running.signed_in:
        staff.look("desk-sign-in")
        staff.page.goto(running.address("As the merchant"))
        staff.look("desk-enter")
        running.signed_in = True
    else:
        staff.page.get_by_label("E-mail").fill("sam@example.com")
        staff.page.get_by_role("button").first.click()
        staff.look("desk-link-sent")
        staff.page.goto(mailed(staff.page, running))
    staff.page.get_by_role("button", name=re.compile("^Sign in")).click()
    staff.look("desk-queue")


def mailed(page: Page, running: Demo) -> str:
    """The newest link for staff in the mailbox."""
    until = monotonic() + 60
    while monotonic() < until:
        page.goto(running.address("The mailbox"))
        newest = page.get_by_role("link", name=re.compile("^Sign in"))
        if newest.count():
            newest.first.click()
            found = re.search(r"http://\S+/enter\?link=\S+", page.locator("pre").inner_text())
            assert found
            return found[0]
        page.wait_for_timeout(300)
    raise AssertionError("no link came")


def pay(staff: Person, running: Demo, number: str) -> None:
    """Take the parcel in, look at it, and give the money back."""
    case = f"{running.address('As the merchant').partition('/enter')[0]}/{number}"
    staff.page.goto(case)
    staff.look("desk-return")
    staff.press("The one piece arrived")
    staff.look("desk-return-received")
    staff.press("It is fine: back to stock")
    staff.look("desk-return-inspected")
    staff.press("See what it pays", "link")
    staff.look("desk-resolve")
    staff.press("Give it back")
    until = monotonic() + 60
    while "reference" not in staff.page.locator("main").inner_text():
        assert monotonic() < until, staff.reads()
        staff.page.wait_for_timeout(300)
        staff.page.goto(case)
    staff.look("desk-return-paid")
    staff.page.goto(case.rpartition("/")[0] + "/money")
    staff.look("desk-money")


def test_p9_without_javascript_the_whole_job_works_too(browser: Browser, running: Demo) -> None:
    plain = Person.at(browser, "phone", java_script_enabled=False)
    find(plain, running, "1043")
    number = ask(plain, reason="Changed my mind", resolution="Store credit", button="Send my request")

    assert len(number) == 8
    assert "We are looking at your request" in plain.reads() or "person" in plain.reads()
    plain.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_p12_an_order_that_cannot_come_back_says_why_in_light_and_dark(browser: Browser, running: Demo, scheme: str) -> None:
    person = Person.at(browser, "phone", color_scheme=scheme)
    find(person, running, "1044")
    person.look(f"portal-items-too-late-{scheme}")

    assert "1044" in person.reads()
    assert person.page.get_by_role("button", name="Continue").count() == 0
    person.context.close()


def test_p12_the_first_page_works_by_keyboard_alone_at_320_pixels(browser: Browser, running: Demo) -> None:
    person = Person.at(browser, "phone")
    person.page.set_viewport_size({"width": 320, "height": 640})
    person.page.goto(running.address("As a shopper"))
    for _ in range(3):  # past the link to the content and the shop's name
        person.page.keyboard.press("Tab")
        if person.page.evaluate("document.activeElement.id") == "number":
            break
    person.page.keyboard.type("1042")
    person.page.keyboard.press("Tab")
    person.page.keyboard.type(KIM)
    with person.page.expect_navigation():
        person.page.keyboard.press("Enter")

    assert "/items?" in person.page.url
    person.look("portal-items-320")
    person.context.close()
