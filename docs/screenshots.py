"""Takes the pictures of the live page that the documentation shows, from the demo: ``nox -s screenshots``.

Light and wide, dark with a trace chosen, and on a phone. Needs Debian's Chromium.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

HERE = Path(__file__).parent
WATCHED_MS = 100_000
OPTIONS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]


def address(demo: subprocess.Popen[str]) -> str:
    """The page's URL, which the demo prints when its server answers."""
    assert demo.stdout is not None
    for line in demo.stdout:
        found = re.search(r"live page: (http\S+)", line)
        if found:
            return found[1]
    raise SystemExit("the demo ended without a live page")


def take(page: Page, name: str) -> None:
    """One picture of what the window shows."""
    page.screenshot(path=str(HERE / f"live-page-{name}.png"))
    print(f"wrote docs/live-page-{name}.png")


def main() -> None:
    """Watch the demo for a while and take the pictures."""
    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("a browser is needed; on Debian: apt-get install chromium")
    command = [sys.executable, "-m", "demo", "--seconds", "60", "--serve"]
    demo = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        url = address(demo)
        # Whoever prints much waits for a reader.
        threading.Thread(target=demo.stdout.read, daemon=True).start()  # type: ignore[union-attr]
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=OPTIONS)
            page = browser.new_page(viewport={"width": 1280, "height": 1180})
            page.goto(url)
            page.wait_for_timeout(WATCHED_MS)
            take(page, "light")
            page.emulate_media(color_scheme="dark")
            # A message that was passed on to a group.
            passed_on = page.locator("#trace-rows tr", has_text="player_action")
            passed_on.filter(has=page.locator("td:last-child", has_text="2")).first.locator("button").click()
            page.locator("#events").scroll_into_view_if_needed()
            page.evaluate("document.querySelector('#events').scrollIntoView()")
            page.wait_for_timeout(1000)
            take(page, "dark")
            page.emulate_media(color_scheme="light")
            page.set_viewport_size({"width": 390, "height": 844})
            page.evaluate("scrollTo(0, 0)")
            page.wait_for_timeout(3000)
            take(page, "phone")
            browser.close()
    finally:
        demo.terminate()
        demo.wait(30)


if __name__ == "__main__":
    main()
