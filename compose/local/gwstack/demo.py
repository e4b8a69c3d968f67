"""What makes a new stack usable at once: two users with keys, and one uploaded photograph."""

import json
import os
import time

from .errors import StackError

FILE = "stack/demo.json"
DEMO, ADMIN = "demo", "admin"
SCOPES = {DEMO: "read,upload", ADMIN: "read,upload,admin"}
OPTIONS = "rs:fill:300:200"


class Demo:
    """Users, keys and sample, kept in a private file for later starts."""

    def __init__(self, stack):
        self.stack = stack
        self.saved = {}

    def load(self):
        try:
            with open(self.stack.layout.path(FILE), encoding="utf-8") as file:
                self.saved = json.load(file)
        except (OSError, ValueError):
            self.saved = {}

    def _save(self):
        self.stack.layout.write(FILE, json.dumps(self.saved, indent=1) + "\n", mine=False)

    def key(self, user):
        return self.saved.get(user, {}).get("key", "")

    @property
    def sample_path(self):
        """The path that gives the sample as a PNG of 300 x 200."""
        return f"/img/unsafe/{OPTIONS}/plain/{self.saved['sample']}@png"

    @property
    def sample_file(self):
        return os.path.join(self.stack.layout.root, "compose/local/sample.jpg")

    def ensure_keys(self):
        """Before the agent starts: users and keys in the database."""
        self.load()
        for user in SCOPES:
            if not self.key(user):
                self._new_key(user)

    def _new_key(self, user):
        if self.stack.ctl("user", "show", user, check=False) is None:
            self.stack.ctl("user", "add", user, "--email", f"{user}@example.invalid")
        made = self.stack.ctl("key", "create", user, "--name", "made by the local stack", "--scopes", SCOPES[user])
        self.saved[user] = {"id": made["id"], "key": made["key"]}
        self._save()

    def verify(self, timeout=20.0):
        """When all parts serve: each key is asked for an image, the whole way. A key that the database no longer knows
        (its data was removed, another database was given) is made anew."""
        for user in SCOPES:
            if self._until(user, self._probe_path(), (200, 404, 401, 403), timeout)[0] in (401, 403):
                self.stack.ctl("user", "enable", user, check=False)
                self._new_key(user)
                self._until(user, self._probe_path(), (200, 404), timeout)
        if "sample" not in self.saved or self._fetch(DEMO, self.sample_path)[0] != 200:
            self._upload()
        _, body = self._until(DEMO, self.sample_path, (200,), timeout)
        if not body.startswith(b"\x89PNG"):
            raise StackError(f"the stack answers, but not with a PNG: {self.stack.url}{self.sample_path}")

    def _probe_path(self):
        return f"/img/unsafe/rs:fit:8:8/plain/local:///{'0' * 32}.jpg"

    def _upload(self):
        with open(self.sample_file, "rb") as file:
            photo = file.read()
        status, _, body = self.stack.ask("/api/v1/upload", "POST", photo,
                                         {"X-API-Key": self.key(DEMO), "Content-Type": "image/jpeg"})
        if status != 200:
            raise StackError(f"the upload of the sample failed: {status} {body.decode(errors='replace')[:300]}")
        self.saved["sample"] = json.loads(body)["source"]
        self._save()

    def _fetch(self, user, path):
        return self.stack.ask(path, headers={"X-API-Key": self.key(user)})

    def _until(self, user, path, wanted, timeout):
        """HAProxy's checks and the agent's reading of the database may take a moment."""
        deadline = time.monotonic() + timeout
        while True:
            status, _, body = self._fetch(user, path)
            if status in wanted:
                return status, body
            if time.monotonic() > deadline:
                text = body.decode(errors="replace")[:300]
                raise StackError(f"a request with the key of {user} is answered {status}: {text} (GET {path})")
            time.sleep(0.1)
