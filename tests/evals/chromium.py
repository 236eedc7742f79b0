"""Chromium, driven over its own protocol: pages that run scripts, seen as a person sees them.

The protocol is Chrome DevTools' (https://chromedevtools.github.io/devtools-protocol/), spoken over two pipes: no port,
no network, no driver to install.
"""

import base64
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    "--headless",
    "--no-sandbox",  # it does not run as root otherwise; the pages that are loaded here are our own
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
_DEADLINE = 60.0

_LAYOUT = """(() => {
const parse = (colour) => colour.match(/[\\d.]+/g).map(Number);
const light = (colour) => { const [r, g, b] = parse(colour).map((c) => (c /= 255) <= 0.03928 ? c / 12.92
  : ((c + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
const back = (node) => { for (; node; node = node.parentElement) {
  const colour = getComputedStyle(node).backgroundColor;
  if ((parse(colour)[3] ?? 1) > 0.99) return colour; } return "rgb(255,255,255)"; };
const contrast = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
const hidden = (node) => node.closest(".hidden, noscript, thead, script, style, option");
let worst = 99, where = "", wide = [];
for (const node of document.body.querySelectorAll("*")) {
  const rect = node.getBoundingClientRect();
  if (rect.width && rect.right > innerWidth + 0.5) wide.push(node.tagName + "." + node.getAttribute("class"));
  if (hidden(node) || !rect.width) continue;
  if (![...node.childNodes].some((one) => one.nodeType === 3 && one.data.trim())) continue;
  const style = getComputedStyle(node);
  const ratio = contrast(node.ownerSVGElement ? style.fill : style.color, back(node));
  if (ratio < worst) { worst = ratio; where = node.tagName + "." + node.getAttribute("class"); }
}
const root = document.documentElement;
return { width: Math.max(root.scrollWidth, document.body.scrollWidth), wide, contrast: worst, faintest: where,
  dark: light(back(document.body)) < 0.2 };
})()"""


@dataclass(frozen=True, slots=True)
class Layout:
    """How a page is laid out.

    Args:
        width: Pixels that it is wide, what would have to be scrolled to included.
        wide: Elements that reach beyond the right edge.
        contrast: The lowest contrast of a text with what is behind it.
        faintest: The element with that text.
        dark: Whether its background is dark.
    """

    width: float
    wide: list[str]
    contrast: float
    faintest: str
    dark: bool


class Page:
    """A page in a tab.

    Args:
        chromium: The browser.
        session: The tab's session.
        target: The tab.
    """

    def __init__(self, chromium: "Chromium", session: str, target: str) -> None:
        self._chromium, self._session, self.target = chromium, session, target
        self.console: list[str] = []
        self.requests: list[str] = []

    def run(self, script: str) -> Any:
        """The value of an expression, waited for where it is a promise; an exception of the page is an error here."""
        found = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in found:
            raise AssertionError(found["exceptionDetails"].get("exception", found["exceptionDetails"]))
        return found["result"].get("value")

    def wait(self, condition: str) -> Any:
        """Wait until an expression is true, and say what it is."""
        return self.run(
            f"new Promise((done) => {{ const look = () => {{ const found = {condition};"
            " found ? done(found) : requestAnimationFrame(look); }; look(); })"
        )

    def press(self, *keys: str) -> None:
        """Press keys, one after the other, as a person does."""
        for key in keys:
            text = {"Enter": "\r", "Space": " "}.get(key, key if len(key) == 1 else "")
            name = " " if key == "Space" else key
            code = {"Enter": 13, "Tab": 9, "Space": 32}.get(key, 0)
            held = {"key": name, "code": key, "windowsVirtualKeyCode": code}
            self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **held)
            self.call("Input.dispatchKeyEvent", type="keyUp", **held)

    def layout(self) -> Layout:
        """How it is laid out now."""
        return Layout(**self.run(_LAYOUT))

    def screenshot(self, path: Path, *, full: bool = True) -> None:
        """Write a picture of it."""
        found = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=full)
        path.write_bytes(base64.b64decode(found["data"]))

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol."""
        return self._chromium.call(method, session=self._session, **parameters)

    def heard(self, method: str, parameters: dict[str, Any]) -> None:
        """What the browser said of it."""
        if method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif method == "Runtime.consoleAPICalled":
            self.console.append(str(parameters["args"]))
        elif method == "Runtime.exceptionThrown":
            self.console.append(str(parameters["exceptionDetails"].get("exception", parameters)))
        elif method == "Log.entryAdded":
            self.console.append(parameters["entry"]["text"])


class Chromium:
    """A browser without a window. Made by `chromium`."""

    def __init__(self, into: int, out: int) -> None:
        self._into, self._out = into, out
        self._rest = b""
        self._calls = 0
        self._answers: dict[int, dict[str, Any]] = {}
        self._loaded: set[str] = set()
        self._pages: dict[str, Page] = {}

    def open(
        self, address: str, *, width: int = 1200, height: int = 900, dark: bool = False, scripts: bool = True
    ) -> Page:
        """Open a page in a tab of its own, and wait until it has loaded."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self._pages[session] = Page(self, session, target)
        for domain in ("Page", "Network", "Runtime", "Log"):
            page.call(f"{domain}.enable")
        page.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        page.call("Emulation.setEmulatedMedia", features=[scheme])
        page.call("Emulation.setScriptExecutionDisabled", value=not scripts)
        self._loaded.discard(session)
        page.call("Page.navigate", url=address)
        deadline = time.monotonic() + _DEADLINE
        while session not in self._loaded:
            self._read(deadline)
        return page

    def close_pages(self) -> None:
        """Close all tabs that were opened."""
        for page in self._pages.values():
            self.call("Target.closeTarget", targetId=page.target)
        self._pages.clear()

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol."""
        self._calls += 1
        number = self._calls
        message = {"id": number, "method": method, "params": parameters}
        data = json.dumps(message | ({} if session is None else {"sessionId": session})).encode() + b"\0"
        while data:
            data = data[os.write(self._into, data) :]
        deadline = time.monotonic() + _DEADLINE
        while number not in self._answers:
            self._read(deadline)
        answer = self._answers.pop(number)
        if "error" in answer:
            raise AssertionError(f"{method}: {answer['error']}")
        found: dict[str, Any] = answer["result"]
        return found

    def _read(self, deadline: float) -> None:
        ready, _, _ = select.select([self._out], [], [], max(0.0, deadline - time.monotonic()))
        data = os.read(self._out, 1 << 20) if ready else b""
        if not data:
            raise AssertionError("Chromium has ended" if ready else f"Chromium said nothing for {_DEADLINE:g} s")
        *messages, self._rest = (self._rest + data).split(b"\0")
        for one in messages:
            message = json.loads(one)
            session = message.get("sessionId", "")
            if "id" in message:
                self._answers[message["id"]] = message
            elif message["method"] == "Page.loadEventFired":
                self._loaded.add(session)
            elif session in self._pages:
                self._pages[session].heard(message["method"], message["params"])


@contextmanager
def chromium(profile: Path) -> Iterator[Chromium]:
    """A browser, ended with the block.

    Args:
        profile: An empty folder for it.
    """
    browser = next(filter(None, map(shutil.which, _NAMES)), None)
    assert browser is not None, "there is no Chromium: install it (Debian, Ubuntu: apt-get install chromium)"
    theirs_in, into = os.pipe()
    out, theirs_out = os.pipe()
    # the protocol is spoken on the descriptors 3 and 4; not every sh can name those above 9
    command = ("bash", "-c", f'exec "$@" 3<&{theirs_in} 4>&{theirs_out} 2>/dev/null', "bash", browser, *_FLAGS)
    process = subprocess.Popen(
        [*command, f"--user-data-dir={profile}", "about:blank"], pass_fds=(theirs_in, theirs_out)
    )
    os.close(theirs_in)
    os.close(theirs_out)
    try:
        running = Chromium(into, out)
        yield running
        running.call("Browser.close")
        process.wait(_DEADLINE)
    finally:
        process.kill()
        process.wait()
        os.close(into)
        os.close(out)
