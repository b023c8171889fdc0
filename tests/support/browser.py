# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A headless Chromium as a user of the site has it: it trusts the site's authority, and logs in when it is asked."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from selenium import webdriver
from selenium.common.exceptions import TimeoutException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

from support.modules import ROOT

#: How long a page may take on a busy machine, loaded anew as often as it takes.
PAGE_SECONDS = 90
#: After this time a user would load it anew: of a request that was cut off a page may say nothing, and show no data.
LOAD_SECONDS = 15


def trust(home: Path, authority: Path) -> None:
    """Put an authority into the store of the browser that has ``home``: that is NSS, never the system's bundle."""
    store = home / ".pki/nssdb"
    store.mkdir(parents=True)
    for arguments in (["-N", "--empty-password"], ["-A", "-n", "site", "-t", "C,,", "-i", str(authority)]):
        subprocess.run(["certutil", "-d", f"sql:{store}", *arguments], check=True, capture_output=True)


#: What Chromium, and MLflow's page by itself, show of requests that a network which came or went on this machine
#: has cut off. Where that is all that ever comes, the texts are missing.
_INTERRUPTED = ("ERR_NETWORK_CHANGED", "Something went wrong")


@contextlib.contextmanager
def opened(home: Path) -> Iterator[webdriver.Chrome]:
    """Yield a browser whose profile and authorities lie in ``home``. It verifies every certificate."""
    options = Options()
    options.binary_location = "/usr/bin/chromium"
    # As root, Chromium works without its sandbox only; what it opens is the site's own.
    for argument in ("--headless=new", "--no-sandbox", "--window-size=1400,1000"):
        options.add_argument(argument)
    environment = {"PATH": os.environ["PATH"], "HOME": str(home)}
    browser = webdriver.Chrome(options, Service("/usr/bin/chromedriver", env=environment))
    try:
        yield browser
    finally:
        browser.quit()


def log_in(browser: webdriver.Chrome, url: str, user: str, password: str) -> None:
    """Answer the login that ``url`` asks for, as the user would in the browser's own window; it stays logged in.

    A page that was opened by an address with a login cannot ask its server for data, so another one is opened next.
    """
    browser.get(url.replace("https://", f"https://{quote(user, safe='')}:{quote(password, safe='')}@"))
    browser.get("about:blank")


def keep_screenshot(browser: webdriver.Chrome, name: str) -> None:
    """Write what the browser shows to ``build/e2e``, for people to look at."""
    folder = ROOT / "build/e2e"
    folder.mkdir(parents=True, exist_ok=True)
    assert browser.save_screenshot(str(folder / f"{name}.png"))


def wait_for_texts(browser: webdriver.Chrome, *texts: str) -> None:
    """Wait until every text is seen on the page: rendered, not only somewhere in its source."""
    shown, loaded = "", time.monotonic()

    def is_shown(asked: webdriver.Chrome) -> bool:
        nonlocal shown, loaded
        shown = asked.execute_script("return document.body ? document.body.innerText : ''")
        if all(text in shown for text in texts):
            return True
        if any(text in shown for text in _INTERRUPTED) or time.monotonic() - loaded > LOAD_SECONDS:
            asked.refresh()
            loaded = time.monotonic()
        return False

    try:
        WebDriverWait(browser, PAGE_SECONDS, poll_frequency=0.2).until(is_shown)
    except TimeoutException:
        missing = [text for text in texts if text not in shown]
        raise AssertionError(f"{missing} cannot be seen at {browser.current_url}: {shown[:2000]!r}") from None
