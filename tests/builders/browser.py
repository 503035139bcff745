"""The system's Chromium, driven by Playwright; tests that need it are skipped, with the reason, where it is absent."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


def chromium() -> Iterator[Any]:
    """Yield one browser for all tests of a process."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("there is no chromium on this machine")
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright's Python package is not installed")
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=root)
        yield browser
        browser.close()


def expect(elements: Any) -> Any:
    """Playwright's `expect`, imported when it is needed."""
    from playwright import sync_api

    return sync_api.expect(elements)


def until_there_are(count: int, elements: Any) -> None:
    """Wait for a number of elements; the page's policy forbids the scripts by which a page is polled."""
    expect(elements).to_have_count(count, timeout=60_000)


class Visit:
    """A page that was opened from disk, with what went wrong and what was asked for. address: what follows the file."""

    def __init__(self, browser: Any, file: Path, width: int = 1100, address: str = "", **options: Any) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        self.page = self.context.new_page()
        self.problems: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.problems.append(message.text))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(file.resolve().as_uri() + address)

    def charts(self) -> int:
        """Wait for the charts that scripts draw and return their number."""
        until_there_are(0, self.page.locator("[data-chart] img"))
        return int(self.page.locator("[data-chart]").count())

    def found_by_axe(self) -> list[str]:
        """Return what axe-core says against the page as it is shown."""
        axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is absent")
        found = axe.Axe().run(self.page).response["violations"]
        return [f"{each['id']}: {each['nodes'][0]['html'][:200]}" for each in found]

    def close(self) -> None:
        """Close the page."""
        self.context.close()
