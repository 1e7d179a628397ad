"""Run Debian's Chromium headless, and check pages with axe-core."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from playwright.sync_api import sync_playwright

from tests.testbed.docker.locks import exclusive
from tests.testbed.folders import cache_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

CHROMIUM = "/usr/bin/chromium"
_AXE = Path(__file__).parent / "axe"
_FILES = ("package.json", "package-lock.json", ".npmrc")
# WCAG 2.2, level AA, and axe's own best practices.
_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@contextmanager
def chromium() -> Iterator[Browser]:
    """A running browser."""
    with sync_playwright() as playwright:
        # the sandbox needs privileges that root in a container may lack
        arguments = ["--no-sandbox", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        try:
            yield browser
        finally:
            browser.close()


def axe_source() -> str:
    """Return the script of axe-core, in the version and with the hash of the lock file."""
    version = hashlib.sha256((_AXE / "package-lock.json").read_bytes()).hexdigest()[:12]
    root = cache_folder() / f"axe-{version}"
    root.mkdir(parents=True, exist_ok=True)
    script = root / "node_modules/axe-core/axe.min.js"
    with exclusive(root / "install.lock"):
        if not script.exists():
            for name in _FILES:
                shutil.copy(_AXE / name, root)
            done = subprocess.run(
                ["/usr/bin/npm", "ci", "--silent"],
                cwd=root,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode != 0:
                raise RuntimeError(f"npm ci failed:\n{done.stdout}{done.stderr}")
    return script.read_text()


def violations(page: Page, axe: str) -> list[str]:
    """Return the violations that axe finds on the page, one line each."""
    page.evaluate(axe)  # through the debugger: the page's security policy forbids inline scripts
    found: dict[str, Any] = page.evaluate(
        "rules => axe.run(document, { runOnly: { type: 'tag', values: rules } })", _RULES
    )
    return [
        f"{one['id']}: {one['help']}: {node['html'][:200]}"
        for one in found["violations"]
        for node in one["nodes"]
    ]
