"""Headless Chromium for tests of pages.

It is controlled by the DevTools protocol over a pipe, with the standard library only. Tests wait
for what the page shows, never for a time.
"""

from __future__ import annotations

import base64
import fcntl
import itertools
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

LONG = 30.0  # seconds no healthy browser needs
NETWORK_CHANGED = "ERR_NETWORK_CHANGED"  # the network of another test's container came up
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--lang=en-US",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--remote-debugging-pipe",
)
KEYS = {
    "Tab": (9, ""),
    "Enter": (13, "\r"),
    " ": (32, " "),
    "End": (35, ""),
    "Home": (36, ""),
    "ArrowLeft": (37, ""),
    "ArrowRight": (39, ""),
    "Delete": (46, ""),
    "Escape": (27, ""),
}
# Runs before the page's scripts: records violations of the policy, and waits for what is shown.
INIT_SCRIPT = """
window.forbidden = [];
document.addEventListener('securitypolicyviolation', (event) => forbidden.push(
    `${event.violatedDirective}: ${event.blockedURI} ${event.sample}`));
window.until = (holds, what) => new Promise((done, fail) => {
    const check = () => {
        let found = false;
        try { found = holds(); } catch (e) { /* not there yet */ }
        if (found) {
            seen.disconnect();
            done(found);
        }
    };
    const seen = new MutationObserver(check);
    seen.observe(document, {subtree: true, childList: true, attributes: true, characterData: true});
    for (const event of ['load', 'readystatechange', 'close']) {
        window.addEventListener(event, check, true);
    }
    setTimeout(() => fail(new Error(`never ${what}; it shows: ${document.body.innerText}`)), 20000);
    check();
});
"""


class Chromium:
    """The browser: sends commands, receives their results and the events of all tabs."""

    def __init__(self, folder: Path) -> None:
        program = shutil.which("chromium")
        if program is None:
            pytest.skip("chromium: not installed; run scripts/install_system.sh chromium")
        (folder / "user").mkdir(parents=True)
        theirs_in, self._out = _pipe()
        self._in, theirs_out = _pipe()
        # Chromium reads commands from descriptor 3 and writes to 4.
        redirect = ["bash", "-c", 'exec "${@:3}" 3<&"$1" 4>&"$2"', "-"]
        with (folder / "log").open("w") as log:
            self.process = subprocess.Popen(
                [
                    *[*redirect, str(theirs_in), str(theirs_out), program, *FLAGS],
                    f"--user-data-dir={folder / 'user'}",
                    "about:blank",
                ],
                stdout=log,
                stderr=log,
                pass_fds=(theirs_in, theirs_out),
                env={**os.environ, "HOME": str(folder)},
            )
        os.close(theirs_in)
        os.close(theirs_out)
        self._numbers = itertools.count(1)
        self._changed = threading.Condition()
        self._results: dict[int, Any] = {}
        self._events: list[dict[str, Any]] = []
        self._over = False
        threading.Thread(target=self._listen, daemon=True).start()

    def send(self, method: str, session: str = "", **parameters: Any) -> Any:
        """Runs a command and returns its result."""
        number = next(self._numbers)
        command: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if session:
            command["sessionId"] = session
        _write(self._out, json.dumps(command).encode() + b"\0")
        with self._changed:
            done = self._changed.wait_for(lambda: number in self._results or self._over, LONG)
            assert done and not self._over, f"no response from Chromium to {method}"
            answer = self._results.pop(number)
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    def events(self, session: str) -> list[dict[str, Any]]:
        with self._changed:
            return [event for event in self._events if event.get("sessionId") == session]

    def _listen(self) -> None:
        rest = b""
        while part := os.read(self._in, 1 << 16):
            *messages, rest = (rest + part).split(b"\0")
            with self._changed:
                for message in map(json.loads, messages):
                    if "id" in message:
                        self._results[message["id"]] = message
                    else:
                        self._events.append(message)
                self._changed.notify_all()
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def close(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(LONG)
        finally:
            self.process.kill()
            os.close(self._out)


def _pipe() -> tuple[int, int]:
    """The ends to read and to write, with descriptors above 3 and 4."""
    ends = os.pipe()
    high = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends]
    for end in ends:
        os.close(end)
    return high[0], high[1]


def _write(pipe: int, message: bytes) -> None:
    while message:
        message = message[os.write(pipe, message) :]


@contextmanager
def chromium(folder: Path) -> Iterator[Chromium]:
    browser = Chromium(folder)
    try:
        yield browser
    finally:
        browser.close()


class Tab:
    """A tab with one page, and its user: mouse, keyboard, clipboard, files."""

    def __init__(self, browser: Chromium, address: str) -> None:
        self._browser = browser
        self.address = address
        self._target = browser.send("Target.createTarget", url="about:blank")["targetId"]
        attached = browser.send("Target.attachToTarget", targetId=self._target, flatten=True)
        self._session: str = attached["sessionId"]
        self._ignored = 0  # events of a load that was repeated
        for domain in ("Page", "Runtime", "Log", "DOM"):
            self.send(f"{domain}.enable")
        self.send("Network.enable", maxPostDataSize=1024)  # bodies would fill the pipe
        self.send("Page.addScriptToEvaluateOnNewDocument", source=INIT_SCRIPT)
        self.send("Emulation.setFocusEmulationEnabled", enabled=True)
        self.resize(1200, 900)
        allowed = ["clipboardReadWrite", "clipboardSanitizedWrite", "videoCapture"]
        browser.send("Browser.grantPermissions", permissions=allowed, origin=address)

    def send(self, method: str, **parameters: Any) -> Any:
        return self._browser.send(method, self._session, **parameters)

    def resize(self, width: int, height: int, scale: float = 1, mobile: bool = False) -> None:
        size = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": mobile}
        self.send("Emulation.setDeviceMetricsOverride", **size)

    def dark(self, dark: bool = True) -> None:
        value = "dark" if dark else "light"
        features = [{"name": "prefers-color-scheme", "value": value}]
        self.send("Emulation.setEmulatedMedia", features=features)

    def go(self, path: str = "/") -> None:
        """Returns when the page is loaded and its script has run, without NETWORK_CHANGED."""
        while True:
            before = len(self._browser.events(self._session))
            self.send("Page.navigate", url=self.address + path)
            self.until("document.readyState === 'complete' && location.protocol === 'http:'")
            loading = self._browser.events(self._session)[before:]
            if NETWORK_CHANGED not in str(loading):
                return
            self._ignored = before + len(loading)

    def run(self, script: str) -> Any:
        """The value of an expression; awaits a promise."""
        result = self.send(
            "Runtime.evaluate",
            expression=script,
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        assert "exceptionDetails" not in result, result["exceptionDetails"]["exception"][
            "description"
        ]
        return result["result"].get("value")

    def until(self, condition: str) -> Any:
        """Waits until the expression is true and returns its value."""
        return self.run(f"until(() => {condition}, {json.dumps(condition)})")

    def click(self, selector: str) -> None:
        """Clicks its center with the mouse."""
        with self.mouse_down(selector):
            pass

    @contextmanager
    def mouse_down(self, selector: str) -> Iterator[None]:
        """Holds the mouse button down on it during the block."""
        x, y = self.middle(selector)
        at = {"x": x, "y": y, "button": "left", "clickCount": 1}
        self.send("Input.dispatchMouseEvent", type="mousePressed", **at)
        yield
        self.send("Input.dispatchMouseEvent", type="mouseReleased", **at)

    def middle(self, selector: str) -> tuple[float, float]:
        left, top, width, height = self.place(selector)
        return left + width / 2, top + height / 2

    def place(self, selector: str) -> list[float]:
        """Left, top, width and height in the window, after scrolling it into view."""
        found: list[float] = self.run(
            f"(() => {{ const element = document.querySelector({json.dumps(selector)});"
            "element.scrollIntoView({block: 'nearest'});"
            "const at = element.getBoundingClientRect();"
            "return [at.x, at.y, at.width, at.height]; })()"
        )
        return found

    def press(self, *keys: str, modifiers: int = 0) -> None:
        for key in keys:
            code, text = KEYS[key]
            event = {"key": key, "code": "Space" if key == " " else key, "modifiers": modifiers}
            event["windowsVirtualKeyCode"] = code
            self.send("Input.dispatchKeyEvent", type="keyDown", text=text, **event)
            self.send("Input.dispatchKeyEvent", type="keyUp", **event)

    def paste(self) -> None:
        """Presses Ctrl-V."""
        event = {"key": "v", "code": "KeyV", "windowsVirtualKeyCode": 86, "modifiers": 2}
        self.send("Input.dispatchKeyEvent", type="rawKeyDown", commands=["paste"], **event)
        self.send("Input.dispatchKeyEvent", type="keyUp", **event)

    def drop(self, selector: str, *files: Path) -> None:
        """Drags files over an element and drops them."""
        x, y = self.middle(selector)
        data = {"items": [], "files": [str(file) for file in files], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.send("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)

    def choose(self, selector: str, *files: Path) -> None:
        """Chooses files in the dialog of a file input."""
        root = self.send("DOM.getDocument")["root"]["nodeId"]
        node = self.send("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.send("DOM.setFileInputFiles", files=[str(file) for file in files], nodeId=node)

    def screenshot(self) -> bytes:
        return base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"])

    def requests(self, path: str) -> int:
        """The number of requests to it."""
        sent = [e["params"]["request"] for e in self._events("Network.requestWillBeSent")]
        return sum(urlsplit(request["url"]).path == path for request in sent)

    def problems(self) -> list[str]:
        """Errors and warnings on its console, and violations of its policy."""
        problems = [
            event["params"]["exceptionDetails"]["text"]
            for event in self._events("Runtime.exceptionThrown")
        ]
        for event in self._events("Runtime.consoleAPICalled"):
            if event["params"]["type"] in ("error", "warning", "assert"):
                problems.append(str(event["params"]["args"]))
        for event in self._events("Log.entryAdded"):
            if event["params"]["entry"]["level"] in ("error", "warning"):
                problems.append(str(event["params"]["entry"]))
        return problems + list(self.run("window.forbidden"))

    def _events(self, method: str) -> list[dict[str, Any]]:
        """Of a load that was repeated, some come after it."""
        events = self._browser.events(self._session)[self._ignored :]
        return [e for e in events if e["method"] == method and NETWORK_CHANGED not in str(e)]

    def close(self) -> None:
        self._browser.send("Target.closeTarget", targetId=self._target)
