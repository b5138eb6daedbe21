"""Chromium without a screen, driven through two pipes: what a person would do with a page."""

import itertools
import json
import os
import select
import shutil
import subprocess
import time

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), "")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-extensions "
    "--disable-background-networking --disable-component-update --no-default-browser-check "
    "--remote-debugging-pipe about:blank"
)


class Browser:
    """A page of a browser that is offline. requests: addresses that the page asked for.

    errors: what its scripts threw and what its policy forbade.
    """

    def __init__(self, folder, *, timeout_s=60):
        self.requests, self.errors = [], []
        self._numbers, self._rest, self._until = (
            itertools.count(1),
            b"",
            time.monotonic() + timeout_s,
        )
        theirs, self._write = os.pipe()
        self._read, answers = os.pipe()
        # Chromium reads commands from descriptor 3 and writes answers to 4.
        line = f'exec "$0" {FLAGS} --user-data-dir="$1" 3<&{theirs} 4>&{answers}'
        self._process = subprocess.Popen(
            ["bash", "-c", line, CHROMIUM, str(folder)],
            pass_fds=(theirs, answers),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs)
        os.close(answers)
        self._session = None
        (target,) = [
            one for one in self._do("Target.getTargets")["targetInfos"] if one["type"] == "page"
        ]
        attached = self._do("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self._do(f"{domain}.enable")
        none = {"latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
        self._do("Network.emulateNetworkConditions", offline=True, **none)

    def open(self, path):
        """Loads a file."""
        self._do("Page.navigate", url=path.as_uri())
        while self.ask("document.readyState") != "complete":
            time.sleep(0.05)

    def ask(self, expression):
        """Value of an expression in the page."""
        told = self._do("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def press(self, key):
        """Presses a key on what has the focus."""
        code = {"ArrowRight": 39, "ArrowLeft": 37}[key]
        for kind in ("rawKeyDown", "keyUp"):
            self._do(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code
            )

    def appear(self, *, dark=False, width=None):
        """Sets how the page is seen; width: of a phone, in pixels."""
        if width:
            size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": True}
            self._do("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._do("Emulation.setEmulatedMedia", features=[scheme])

    def close(self):
        """Ends the browser."""
        os.close(self._write)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._read)

    def _do(self, method, **params):
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]
            self._note(answer)

    def _note(self, event):
        kind, of = event.get("method"), event.get("params", {})
        if kind == "Network.requestWillBeSent":
            self.requests.append(of["request"]["url"])
        elif kind == "Runtime.exceptionThrown":
            self.errors.append(of["exceptionDetails"])
        elif kind == "Log.entryAdded" and of["entry"]["level"] == "error":
            self.errors.append(of["entry"]["text"])

    def _next(self):
        while b"\0" not in self._rest:
            left = self._until - time.monotonic()
            if left <= 0 or not select.select([self._read], [], [], left)[0]:
                raise TimeoutError("The browser does not answer.")
            part = os.read(self._read, 1 << 16)
            if not part:
                raise ConnectionError("The browser ended.")
            self._rest += part
        message, self._rest = self._rest.split(b"\0", 1)
        return json.loads(message)
