"""The stand-in for imgproxy alone, without a gateway: started on a unix socket, with a folder of two tenants."""

import base64
import hashlib
import hmac
import os
import re
import shutil
import signal
import subprocess
import tempfile

from PIL import Image

import helpers
import helpers_http as http
import helpers_images as images

KEY, SALT = b"secret", b"hello"
# What a file looks like says whose it is.
COLOURS = {"A": (20, 200, 40), "B": (220, 30, 30), "root": (30, 60, 220)}
SIDE = 64


def program():
    return os.environ.get("GATEWAY_STANDIN") or os.path.join(helpers.ROOT, "build/tests/imgproxy-standin")


def marker(whose, kind="JPEG"):
    """An image of one colour, which says whose it is."""
    return images.encode(Image.new("RGB", (SIDE, SIDE), COLOURS[whose]), kind)


def seen(body):
    """Whose marker an image is; None when the bytes are no image, "?" when it is nobody's."""
    try:
        image = images.decode(body).convert("RGB")
    except Exception:  # whatever PIL says of bytes that are none
        return None
    pixel = image.getpixel((image.width // 2, image.height // 2))
    for whose, colour in COLOURS.items():
        if all(abs(one - other) < 30 for one, other in zip(pixel, colour)):
            return whose
    return "?"


def b64(text):
    data = text if isinstance(text, bytes) else text.encode()
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def redenormalised(path):
    """What imgproxy signs for what follows the signature, "/" first: its two rules, written as a person reads them."""
    path = path[1:]
    if path.startswith("plain/"):
        head, mark, tail = "", "plain/", path[len("plain/"):]
    else:
        head, mark, tail = path.partition("/plain/")
    head = head.replace("%3A", ":")

    def fixed(match):
        return match[1] + (":///" if match[1] == "local" else "://") + match[2]

    tail = re.sub(r"^([^\t\n\f\r ]+):/([^/])", fixed, tail)
    path = head + mark + tail
    return "/" + (path[1:] if path.startswith("/") else path)


def signature(text, key=KEY, salt=SALT, size=32):
    """Over the text as it is, one character a byte."""
    return b64(hmac.new(key, salt + text.encode("latin-1"), hashlib.sha256).digest()[:size])


def signed(path, key=KEY, salt=SALT):
    """The target whose signature is good for what imgproxy makes of this path."""
    return f"/{signature(redenormalised(path.split('?')[0]), key, salt)}{path}"


class Standin:
    """One that runs. Variables of imgproxy are given without their IMGPROXY_ in front."""

    def __init__(self, prefix=(), **settings):
        self.folder = tempfile.mkdtemp(prefix="igw-standin-", dir="/tmp")
        self.root = os.path.join(self.folder, "root")
        self.address = "unix@" + os.path.join(self.folder, "http.sock")
        self._make_files()
        values = {"KEY": KEY.hex(), "SALT": SALT.hex(), "LOCAL_FILESYSTEM_ROOT": self.root, "NETWORK": "unix",
                  "BIND": self.address[len("unix@"):], **settings}
        environment = {"PATH": os.environ["PATH"], **{f"IMGPROXY_{name}": str(text) for name, text in values.items()}}
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS"):
            if name in os.environ:
                environment[name] = os.environ[name]
        self.log = os.path.join(self.folder, "log")
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([*prefix, program()], env=environment, stdin=subprocess.DEVNULL,
                                            stdout=log,
                                            stderr=log, start_new_session=True)
        try:
            helpers.wait_until(self._is_up, 15.0, "the stand-in answers")
        except BaseException:
            self.close()
            raise

    def _make_files(self):
        for tenant, whose in (("a", "A"), ("b", "B")):
            os.makedirs(os.path.join(self.root, "tenants", tenant))
            for name in ("cat.jpg", "secret.jpg"):
                self.write(f"tenants/{tenant}/{name}", marker(whose))
            self.write(f"tenants/{tenant}/secret.txt", f"text of {whose}".encode())
        self.write("root.jpg", marker("root"))
        os.symlink("../b/secret.jpg", os.path.join(self.root, "tenants/a/ln.jpg"))

    def write(self, name, data):
        with open(os.path.join(self.root, name), "wb") as file:
            file.write(data)

    def _is_up(self):
        if self.process.poll() is not None:
            with open(self.log, encoding="utf-8", errors="replace") as file:
                raise AssertionError(f"the stand-in ended: {file.read()}")
        try:
            return self.get("/health").status == 200
        except OSError:
            return False

    def send(self, data, head_only=False):
        return http.send_raw(self.address, data, head_only)

    def get(self, target, headers=(), method="GET"):
        return self.send(http.build(method, target, headers), method == "HEAD")

    def ask(self, path, headers=()):
        """GET of the path, signed."""
        return self.get(signed(path), headers)

    def close(self):
        """Ends it and removes its folder; a sanitizer's word is a failure."""
        try:
            os.killpg(self.process.pid, signal.SIGTERM)
            self.process.wait(15)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            pass
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait(5)
        with open(self.log, encoding="utf-8", errors="replace") as file:
            text = file.read()
        shutil.rmtree(self.folder, ignore_errors=True)
        assert not helpers.SANITIZER.search(text), text
