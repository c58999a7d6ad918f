"""Opens an address in the browser of this machine's user, if there is one.

There is none in CI, over SSH, without a display, or if stdout is not a terminal. A browser that
would take over the terminal is not used. Failing to open one is not an error.
"""

from __future__ import annotations

import os
import sys
import threading
import webbrowser
from pathlib import Path

REMOTE = ("CI", "SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY")
DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY")
TEXT_BROWSERS = ("www-browser", "links", "elinks", "lynx", "w3m")


def show(address: str) -> None:
    """Opens a new window or tab, without waiting for it."""
    browser = _browser() if _has_user() else None
    if browser:
        # Some wait seconds for the browser to start.
        threading.Thread(target=browser.open, args=[address], daemon=True).start()


def _has_user() -> bool:
    if any(os.environ.get(name) for name in REMOTE) or not sys.stdout.isatty():
        return False
    return sys.platform == "darwin" or any(os.environ.get(name) for name in DISPLAYS)


def _browser() -> webbrowser.BaseBrowser | None:
    try:
        browser = webbrowser.get()
    except webbrowser.Error:
        return None
    # A generic one is run until it ends, in our terminal.
    waits = type(browser) is webbrowser.GenericBrowser
    return None if waits or Path(browser.name).name in TEXT_BROWSERS else browser
