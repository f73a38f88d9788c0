"""Browsers that open a page of a test's own site and wait for what it reports."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

NAMES = ("chromium", "firefox")
COMMANDS = {"chromium": ("chromium", "chromium-browser", "google-chrome"),
            "firefox": ("firefox-esr", "firefox")}  # fmt: skip
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--remote-debugging-port=0",
)  # fmt: skip
# Nothing is looked up, and nothing asked, outside this machine.
PREFERENCES = """
app.normandy.enabled false
app.update.enabled false
browser.aboutwelcome.enabled false
browser.safebrowsing.malware.enabled false
browser.safebrowsing.phishing.enabled false
datareporting.policy.dataSubmissionEnabled false
extensions.update.enabled false
network.captive-portal-service.enabled false
network.connectivity-service.enabled false
services.settings.server ""
toolkit.telemetry.enabled false
"""


def command_of(name: str) -> str:
    """The command of a browser; skips the test where there is none."""
    for command in COMMANDS[name]:
        if shutil.which(command):
            return command
    pytest.skip(f"no {name} on this machine (Debian: apt-get install {COMMANDS[name][0]})")


@contextmanager
def opened(name: str, address: str) -> Iterator[None]:
    """A browser with a new profile, at an address."""
    command = command_of(name)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        if name == "firefox":
            lines = [line.split() for line in PREFERENCES.split("\n") if line]
            text = "\n".join(f'user_pref("{key}", {value});' for key, value in lines)
            Path(profile, "user.js").write_text(text)
            arguments = ["--headless", "--no-remote", "--profile", profile, address]
        else:
            arguments = [*QUIET, f"--user-data-dir={profile}", address]
        process = subprocess.Popen(
            [command, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
