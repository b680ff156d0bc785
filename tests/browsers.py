"""A real Chromium: where to find it, what it looks like in it, and whether everybody can use it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

SHOTS: Final = Path(__file__).resolve().parent.parent / "screenshots"
WIDTHS: Final[Mapping[str, int]] = {"phone": 390, "desktop": 1200}
_NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
_FORM: Final = "status of 422"  # a form that is shown again, which Chromium takes for a trouble
# WCAG 2.2 AA, and what axe calls good practice.
_RULES: Final = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}


def executable() -> str:
    """The browser of this machine. Skips where there is none (and fails in CI)."""
    found = next((path for name in _NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium on this machine; `apt-get install chromium` brings one")
    return found


@contextmanager
def chromium() -> Iterator[Browser]:
    """One that runs while the block lasts. Root's needs no sandbox of its own: it opens our own pages only."""
    path = executable()
    with sync_playwright() as playwright:
        options = ["--no-sandbox"] if os.getuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=path, args=[*options, "--disable-dev-shm-usage"])
        try:
            yield browser
        finally:
            browser.close()


@dataclass(slots=True)
class Person:
    """Somebody at a browser of one width. Every page that they look at is checked by axe and kept as a picture."""

    name: str
    context: BrowserContext
    page: Page
    axe: Axe = field(default_factory=Axe)
    loud: list[str] = field(default_factory=list)

    @classmethod
    def at(cls, browser: Browser, width: str, **how: Any) -> Person:
        context = browser.new_context(viewport={"width": WIDTHS[width], "height": 900}, **how)
        context.set_default_timeout(30_000)
        person = cls(width, context, context.new_page())
        person.page.on("console", lambda said: person.loud.append(said.text) if said.type == "error" and _FORM not in said.text else None)
        person.page.on("pageerror", lambda error: person.loud.append(str(error)))
        return person

    def look(self, name: str) -> None:
        """A picture of the whole page, and what axe finds in it, which must be nothing."""
        SHOTS.mkdir(exist_ok=True)
        self.page.screenshot(path=SHOTS / f"{name}-{self.name}.png", full_page=True)
        found = self.axe.run(self.page, options=_RULES)
        assert found.violations_count == 0, f"{name}: {found.generate_report()}"
        wide = self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{name} is {wide} px too wide"
        assert not self.loud, f"{name}: {self.loud}"

    def press(self, name: str, role: Literal["button", "link"] = "button") -> None:
        self.page.get_by_role(role, name=name, exact=True).first.click()

    def reads(self) -> str:
        """What the page says."""
        return " ".join(self.page.locator("body").inner_text().split())
