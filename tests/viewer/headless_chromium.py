"""Headless Chromium, driven through its DevTools protocol over a pipe: no driver to install."""

import base64
import json
import os
import select
import shutil
import subprocess
import time
from itertools import count
from pathlib import Path

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader", "--remote-debugging-pipe",
)  # fmt: skip


class Chromium:
    """One page in a browser of its own; a context manager.

    Attributes:
        requests: addresses that the page asked for.
        complaints: errors and warnings of its console, and what its scripts threw.
    """

    def __init__(self, profile: Path, timeout_s: float = 60):
        self._timeout_s = timeout_s
        self._numbers, self._replies, self._rest = count(1), {}, b""
        self.requests, self.complaints = [], []
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        # The protocol is spoken on the descriptors 3 and 4, whatever numbers the pipes have here.
        shell = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}'
        command = [CHROMIUM, *_OPTIONS, f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(
            ["bash", "-c", shell, "bash", *command], pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(theirs_in)
        os.close(theirs_out)
        self._session = None
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._session = None
        try:
            self.send("Browser.close")
            self._process.wait(10)
        except (OSError, TimeoutError, subprocess.TimeoutExpired):
            self._process.kill()
        os.close(self._in)
        os.close(self._out)

    def send(self, method, **params):
        """Call a method of the protocol and wait for its answer."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + self._timeout_s
        while number not in self._replies:
            self._listen(end)
        reply = self._replies.pop(number)
        if "error" in reply:
            raise RuntimeError(f"{method}: {reply['error']['message']}")
        return reply["result"]

    def _listen(self, end):
        ready, _, _ = select.select([self._in], [], [], max(0, end - time.monotonic()))
        if not ready:
            raise TimeoutError("Chromium did not answer")
        found = os.read(self._in, 1 << 20)
        if not found:
            raise OSError("Chromium ended")
        *messages, self._rest = (self._rest + found).split(b"\0")
        for message in map(json.loads, messages):
            params = message.get("params", {})
            match message.get("method"):
                case None:
                    self._replies[message["id"]] = message
                case "Network.requestWillBeSent":
                    self.requests.append(params["request"]["url"])
                case "Runtime.exceptionThrown":
                    self.complaints.append(params["exceptionDetails"]["exception"].get("description"))
                case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning", "assert"):
                    self.complaints.append(str([each.get("value") for each in params["args"]]))
                case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
                    self.complaints.append(params["entry"]["text"])

    def run(self, script):
        """The value of an expression on the page; a promise is waited for."""
        done = self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in done:
            raise RuntimeError(done["exceptionDetails"]["exception"].get("description"))
        return done["result"].get("value")

    def wait_for(self, script):
        """Wait until an expression is true."""
        end = time.monotonic() + self._timeout_s
        while not self.run(script):
            if time.monotonic() > end:
                raise TimeoutError(f"never true: {script}")
            time.sleep(0.02)

    def open(self, address, width=1280, height=900, dark=False, touch=False, fine=1):
        """Open an address in a window of a size, and wait until it is loaded."""
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=fine,
            mobile=touch,
        )  # fmt: skip
        self.send("Emulation.setTouchEmulationEnabled", enabled=touch)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        # From another page, since an address that differs in its hash alone loads nothing.
        for url in ("about:blank", address):
            self.send("Page.navigate", url=url)
            self.wait_for(f"document.readyState === 'complete' && location.href.startsWith('{url[:8]}')")

    def mouse(self, kind, x, y, **more):
        """One event of the mouse: Pressed, Moved, Released or Wheel."""
        more = {"button": "left", "buttons": 1, "clickCount": 1} | more if kind != "Wheel" else more
        self.send("Input.dispatchMouseEvent", type=f"mouse{kind}", x=x, y=y, **more)

    def click(self, x, y):
        """Click at a point of the window."""
        self.mouse("Pressed", x, y)
        self.mouse("Released", x, y, buttons=0)

    def drag(self, start, end, steps=3):
        """Drag from one point to another."""
        self.mouse("Pressed", *start)
        for step in range(1, steps + 1):
            self.mouse("Moved", *(a + (b - a) * step / steps for a, b in zip(start, end, strict=True)))
        self.mouse("Released", *end, buttons=0)

    def press(self, key):
        """Press a key, as ``ArrowDown`` or ``f``."""
        text = {"text": key} if len(key) == 1 else {}
        self.send("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
        self.send("Input.dispatchKeyEvent", type="keyUp", key=key)

    def box(self, selector):
        """Left, top, width and height of an element in the window, after scrolling to it."""
        return self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({block: 'center'}); const b = e.getBoundingClientRect();"
            "return [b.left, b.top, b.width, b.height]; })()"
        )

    def screenshot(self, path, whole=True):
        """Save a picture of the page."""
        picture = self.send("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
        Path(path).write_bytes(base64.b64decode(picture))
