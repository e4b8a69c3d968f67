"""Secrets that are planted, and a search for them in whatever was written, said or sent, in each of their forms."""

import base64
import os
import threading
import time
import urllib.parse


def _base64_core(data, offset):
    """What base64 has of data that stands `offset` bytes behind the start, without the characters that its neighbours share."""
    text = base64.b64encode(b"\0" * offset + data)
    return text[(0, 2, 3)[offset]:len(text) // 4 * 4 - 4]


def forms(secret):
    """A secret as it may stand in a text: raw, as hex, base64 and URL-encoded; one that is hex also as the bytes that it means."""
    raws = [secret.encode()]
    try:
        raws.append(bytes.fromhex(secret))
    except ValueError:
        pass
    found = set()
    for raw in raws:
        found |= {raw, raw.hex().encode(), raw.hex().upper().encode()}
        for offset in range(3):
            core = _base64_core(raw, offset)
            found |= {core, core.replace(b"+", b"-").replace(b"/", b"_")}
    for safe in ("", "/"):
        found |= {urllib.parse.quote(secret, safe=safe).encode(), urllib.parse.quote_plus(secret, safe=safe).encode()}
    # As our own log, JSON and a shell would escape it.
    found.add(secret.replace("\\", "\\\\").replace('"', '\\"').encode())
    return {form for form in found if len(form) >= 8}


class Planted:
    """Secrets by a name that a failure may print."""

    def __init__(self):
        self.secrets, self._forms = {}, []

    def plant(self, name, secret):
        """Returns the secret."""
        assert len(secret) >= 16, "too short to be told from chance"
        self.secrets[name] = secret
        self._forms += [(name, form) for form in forms(secret)]
        return secret

    def key(self, name, text):
        """An API key: its id is public, and so not searched for; returns the key."""
        self.plant(name, text.split("_")[2])
        return text

    def within(self, data):
        """Names of the secrets that occur."""
        data = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
        return sorted({name for name, form in self._forms if form in data})


class CommandLines(threading.Thread):
    """Every command line that any process has while this runs."""

    def __init__(self):
        super().__init__(daemon=True)
        self.found, self.rounds, self._ended = set(), 0, threading.Event()

    def run(self):
        while not self._ended.is_set():
            for name in os.listdir("/proc"):
                if not name.isdigit():
                    continue
                try:
                    with open(f"/proc/{name}/cmdline", "rb") as file:
                        self.found.add(file.read())
                except OSError:
                    pass
            self.rounds += 1
            time.sleep(0.01)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exc):
        self._ended.set()
        self.join()


def folder_bytes(folder):
    """(path, content) of each file below a folder."""
    for where, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(where, name)
            if os.path.isfile(path):
                try:
                    with open(path, "rb") as file:
                        yield path, file.read()
                except FileNotFoundError:
                    pass
