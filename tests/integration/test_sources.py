"""Remote sources: none, until the operator gives a user a prefix; and then what lies below that alone."""

import http.server
import threading
import time

import pytest

import helpers_images as images
from helpers import wait_until
from helpers_http import check_problem
from helpers_signed import base64_source, make_signer, signed


class _Origin(http.server.BaseHTTPRequestHandler):
    """An image at each path; /moved/… sends elsewhere. Remembers what was asked."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.asked.append(self.path)
        moved = self.path.startswith("/pub/moved")
        self.send_response(302 if moved else 200)
        if moved:
            self.send_header("Location", "/private/x.jpg")
        body = b"" if moved else self.server.image
        self.send_header("Content-Type", "image/jpeg")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def origin(photo):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Origin)
    server.image, server.asked = photo, []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.url = f"http://127.0.0.1:{server.server_port}"
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def gateway(module_stack):
    """Image servers that may ask this machine; the address is one that an operator would never allow."""
    return module_stack({"IMAGES_MAX_LIFETIME": "2h"}, environ={"IMGPROXY_ALLOW_LOOPBACK_SOURCE_ADDRESSES": "true"})


@pytest.fixture(scope="module")
def signer(gateway, origin):
    made = make_signer(gateway)
    gateway.done("source", "add", made.user.name, origin.url + "/pub/")
    gateway.settle()
    return made


def forms(source):
    """The paths of a source, as it is written and as base64."""
    return f"/img/unsafe/rs:fill:30:20/plain/{source}", f"/img/unsafe/rs:fill:30:20/{base64_source(source)}.png"


def test_below_the_prefix(gateway, origin, signer):
    upper = origin.url.replace("http://", "HTTP://")
    for source in (f"{origin.url}/pub/a.jpg", f"{origin.url}/pub/deep/b.jpg?v=2", f"{upper}/pub/a.jpg",
                   f"{origin.url}/pub/x/../a.jpg", f"{origin.url}/%70ub/a.jpg", f"{origin.url}/pub/a%20b.jpg"):
        answer = gateway.get(f"/img/unsafe/rs:fill:30:20/{base64_source(source)}.png", signer)
        assert answer.status == 200 and images.decode(answer.body).size == (30, 20), (source, answer)
    assert gateway.get(forms(f"{origin.url}/pub/a.jpg")[0], signer).status == 200
    assert gateway.get(signed(signer, f"/w:30/{base64_source(origin.url + '/pub/a.jpg')}")).status == 200
    assert set(origin.asked) == {"/pub/a.jpg", "/pub/deep/b.jpg?v=2", "/pub/a%20b.jpg"}


def test_nothing_else(gateway, origin, signer):
    origin.asked.clear()
    port = origin.url.rpartition(":")[2]
    sources = [f"{origin.url}/private/x.jpg", f"{origin.url}/pub", f"{origin.url}/pubx/a.jpg", f"{origin.url}/pub/../private/x.jpg",
               f"{origin.url}/pub/%2e%2e/private/x.jpg", f"{origin.url}/pub/..%2fprivate/x.jpg", f"{origin.url}/pub/.%2e/private/x.jpg",
               f"{origin.url}/pub/..;/private/x.jpg", f"{origin.url}/pub\\..\\private/x.jpg", f"http://localhost:{port}/pub/a.jpg",
               f"http://127.1:{port}/pub/a.jpg", f"http://0x7f000001:{port}/pub/a.jpg", f"http://2130706433:{port}/pub/a.jpg",
               f"http://[::ffff:127.0.0.1]:{port}/pub/a.jpg", f"http://u@127.0.0.1:{port}/pub/a.jpg",
               f"http://127.0.0.1:{port}@evil.example/pub/a.jpg", f"http://127.0.0.1:{port}.evil.example/pub/",
               f"https://127.0.0.1:{port}/pub/a.jpg", f"http:/127.0.0.1:{port}/pub/a.jpg", f"//127.0.0.1:{port}/pub/a.jpg",
               f"{origin.url}/pub/a.jpg#x", f"{origin.url}/pub/\n/private/x.jpg", "file:///etc/passwd", "ftp://127.0.0.1/pub/"]
    for source in sources:
        answer = gateway.get(f"/img/unsafe/w:30/{base64_source(source)}", signer)
        assert (answer.status, answer.code) in ((403, "source_forbidden"), (400, "url_invalid")), (source, answer)
        assert gateway.get(signed(signer, f"/w:30/{base64_source(source)}")).status == answer.status
    assert origin.asked == []


def test_a_redirect_is_not_followed(gateway, origin, signer):
    origin.asked.clear()
    for path in forms(f"{origin.url}/pub/moved.jpg"):
        check_problem(gateway.get(path, signer), 404, "not_found")
    assert set(origin.asked) == {"/pub/moved.jpg"}


def test_whose_they_are(gateway, origin, signer):
    """Another user's prefix is theirs, and one that was taken away is nobody's."""
    other = gateway.make_key()
    path = forms(f"{origin.url}/pub/a.jpg")[1]
    check_problem(gateway.get(path, other), 403, "source_forbidden")
    gateway.done("source", "add", other.user.name, origin.url + "/pub/a.jpg")
    wait_until(lambda: gateway.get(path, other).status == 200, 5, "the prefix")
    check_problem(gateway.get(forms(f"{origin.url}/pub/b.jpg")[1], other), 403, "source_forbidden")
    gateway.done("source", "remove", other.user.name, origin.url + "/pub/a.jpg")
    wait_until(lambda: gateway.get(path, other).code == "source_forbidden", 5, "it is gone")
    assert gateway.get(path, signer).status == 200


def test_bounds_and_presets_of_a_user(gateway, origin, signer):
    key = gateway.make_key()
    gateway.done("source", "add", key.user.name, origin.url + "/pub/")
    gateway.done("image", "set", key.user.name, "--max-dimension", "100", "--require-expires", "on")
    gateway.settle()
    source = base64_source(f"{origin.url}/pub/a.jpg")
    now = int(time.time())
    soon, late = f"exp:{now + 3600}", f"exp:{now + 7300}"
    assert gateway.get(f"/img/unsafe/w:100/{soon}/{source}", key).status == 200
    for options in (f"w:101/{soon}", "w:100", f"w:100/{late}", f"w:60/dpr:2/{soon}", f"pr:thumb/{soon}"):
        check_problem(gateway.get(f"/img/unsafe/{options}/{source}", key), 403, "option_forbidden")
    gateway.done("image", "set", key.user.name, "--max-dimension", "default", "--require-expires", "default")
    wait_until(lambda: gateway.get(f"/img/unsafe/w:101/{source}", key).status == 200, 5, "the bounds")
