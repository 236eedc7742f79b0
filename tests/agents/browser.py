"""What a page looks like in Chromium, without a network."""

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from html import escape
from pathlib import Path

import pytest

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
    "--enable-logging=stderr",
    "--virtual-time-budget=5000",
)
# The page stands in a frame of the width that is asked for. It may run no script; this one looks at it from outside.
_HARNESS = """<!doctype html><meta charset="utf-8"><body style="margin:0">
<iframe id="frame" style="width:WIDTHpx;height:800px;border:0" srcdoc="PAGE"></iframe><pre id="seen"></pre><script>
const parse = (colour) => colour.match(/[\\d.]+/g).map(Number);
const light = (colour) => { const [r, g, b] = parse(colour).map((c) => (c /= 255) <= 0.03928 ? c / 12.92
  : ((c + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
const back = (node, view) => { for (; node; node = node.parentElement) { const colour =
  view.getComputedStyle(node).backgroundColor; if ((parse(colour)[3] ?? 1) > 0.99) return colour; }
  return "rgb(255,255,255)"; };
const contrast = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
const frame = document.getElementById("frame");
frame.onload = () => {
  const page = frame.contentDocument, view = frame.contentWindow;
  for (const one of page.querySelectorAll("details")) one.open = true;
  const box = page.getElementById("texts"); if (box && TEXTS) box.checked = true;
  let worst = 99, where = "", narrow = [];
  for (const node of page.body.querySelectorAll("*")) {
    const rect = node.getBoundingClientRect();
    if (rect.width && rect.right > WIDTH + 0.5) narrow.push(node.tagName + "." + node.className);
    if (![...node.childNodes].some((one) => one.nodeType === 3 && one.data.trim())) continue;
    const ratio = contrast(view.getComputedStyle(node).color, back(node, view));
    if (ratio < worst) { worst = ratio; where = node.tagName + "." + node.className; }
  }
  const root = page.documentElement;
  document.getElementById("seen").textContent = JSON.stringify({
    width: Math.max(root.scrollWidth, page.body.scrollWidth), narrow, contrast: worst, faintest: where,
    dark: light(back(page.body, view)) < 0.2, text: page.body.innerText,
    tags: [...new Set([...page.querySelectorAll("*")].map((node) => node.tagName.toLowerCase()))].sort() });
};
</script>"""


@dataclass(frozen=True, slots=True)
class Seen:
    """A page as Chromium laid it out, all that can be unfolded unfolded.

    Args:
        width: Pixels that it is wide, what would have to be scrolled to included.
        wide: Elements that reach beyond the right edge.
        contrast: The lowest contrast of a text with what is behind it.
        faintest: The element with that text.
        dark: Whether its background is dark.
        text: What can be read.
        tags: The elements that there are.
        console: What was written to the console.
    """

    width: float
    wide: list[str]
    contrast: float
    faintest: str
    dark: bool
    text: str
    tags: list[str]
    console: list[str]


def look(page: str, folder: Path, *, width: int = 390, dark: bool = False, texts: bool = False) -> Seen:
    """Lay a page out.

    Args:
        page: The page.
        folder: An empty folder for the browser.
        width: Pixels of the window's width.
        dark: Whether the user likes it dark.
        texts: Whether ids are shown as texts.
    """
    browser = next(filter(None, map(shutil.which, _NAMES)), None)
    if browser is None:
        pytest.fail("there is no Chromium: install it (Debian, Ubuntu: apt-get install chromium)", pytrace=False)
    harness = _HARNESS.replace("TEXTS", str(texts).lower()).replace("WIDTH", str(width)).replace("PAGE", escape(page))
    (folder / "harness.html").write_text(harness, encoding="utf-8")
    scheme = ("--force-dark-mode",) if dark else ()
    command = (browser, *_FLAGS, *scheme, f"--user-data-dir={folder / 'profile'}", "--window-size=1300,900")
    done = subprocess.run(
        [*command, "--dump-dom", (folder / "harness.html").as_uri()], capture_output=True, timeout=120, check=True
    )
    seen = re.search(r'<pre id="seen">(.*?)</pre>', done.stdout.decode(), re.DOTALL)
    assert seen is not None, done.stderr.decode()
    text = seen[1].replace("&lt;", "<").replace("&gt;", ">").replace("&nbsp;", "\u00a0").replace("&amp;", "&")
    found = json.loads(text)
    console = [line for line in done.stderr.decode().splitlines() if "CONSOLE" in line]
    return Seen(
        found["width"],
        found["narrow"],
        found["contrast"],
        found["faintest"],
        found["dark"],
        found["text"],
        found["tags"],
        console,
    )
