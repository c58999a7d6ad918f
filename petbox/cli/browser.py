"""An address shown in the browser of whoever sits before this machine, if anybody does.

Nobody does in CI, over SSH, without a display, or where our output goes to a program. A browser
that would take the terminal is none. That nothing can be shown is no failure.
"""

from __future__ import annotations

import os
import sys
import threading
import webbrowser
from pathlib import Path

ELSEWHERE = ("CI", "SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY")  # of those who look from afar
DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY")
OF_THE_TERMINAL = ("www-browser", "links", "elinks", "lynx", "w3m")


def show(address: str) -> None:
    """Opens a new window or tab, without waiting for it."""
    browser = _browser() if _somebody_looks() else None
    if browser:
        # Some wait seconds for the browser to start.
        threading.Thread(target=browser.open, args=[address], daemon=True).start()


def _somebody_looks() -> bool:
    if any(os.environ.get(name) for name in ELSEWHERE) or not sys.stdout.isatty():
        return False
    return sys.platform == "darwin" or any(os.environ.get(name) for name in DISPLAYS)


def _browser() -> webbrowser.BaseBrowser | None:
    try:
        browser = webbrowser.get()
    except webbrowser.Error:
        return None
    # A generic one is run until it ends, in our terminal.
    waits = type(browser) is webbrowser.GenericBrowser
    return None if waits or Path(browser.name).name in OF_THE_TERMINAL else browser
