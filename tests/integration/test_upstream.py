"""What image servers and gateway-api get to see.

Their places are taken here by small servers in Python that write down every request: the stand-in and gateway-api say
nothing of the headers that they get. HAProxy and the agent are the real ones.
"""

import http.server
import threading

import pytest
from gwstack import ports

from helpers import image_path, wait_until
from helpers_http import multipart

PNG = bytes.fromhex("89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55"
                    "0000000a49444154789c63600000000200014821bc330000000049454e44ae426082")


class Recorder:
    """Answers everything with a small PNG, and keeps requests: (method, target, headers, body)."""

    def __init__(self, address):
        self.requests = []
        host, _, port = address.rpartition(":")
        self.server = http.server.ThreadingHTTPServer((host, int(port)), self.handler())
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()

    def handler(recorder):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if self.path not in ("/health", "/healthz"):
                    recorder.requests.append((self.command, self.path, self.headers.items(), body))
                self.send_response(200)
                for name, value in (("Content-Type", "image/png"), ("Content-Length", str(len(PNG))), ("Set-Cookie", "a=b"),
                                    ("Access-Control-Allow-Origin", "*"), ("X-Request-ID", "theirs")):
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(PNG)

            do_GET = do_POST = do_HEAD = do_PUT = do_DELETE = answer

            def log_message(self, *args):
                pass

        return Handler

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture(scope="module")
def recorded(module_stack):
    """(stack, recorder in the place of the image servers, recorder in the place of gateway-api)"""
    stack = module_stack({"API_BIND": f"127.0.0.1:{ports.find_free()}", "IMGPROXY_2_WEIGHT": "0"})
    for name in ("imgproxy-1", "imgproxy-2", "api"):
        stack[name].stop()
    image, api = Recorder(stack.image_servers[0].address), Recorder(stack.settings["API_BIND"])
    for backend, server in (("be_imgproxy", "img1"), ("be_api", "api")):
        # Down first, so that the check which says UP is the recorder's.
        wait_until(lambda: stack.server_stat(backend, server)["check_status"] in ("L7OK", "L6OK"), what="a check of it")
        stack.wait_server(backend, server)
    yield stack, image, api
    image.close()
    api.close()


def smuggled(stack, key):
    return [
        ("Authorization", "Bearer " + key), ("Cookie", "session=secret-cookie"), ("Proxy-Authorization", "Basic secret-proxy"),
        ("X-Forwarded-For", "6.6.6.6"), ("X-Forwarded-Host", "evil.example"), ("X-Forwarded-Proto", "https"),
        ("X_Forwarded_For", "6.6.6.6"), ("Forwarded", "for=6.6.6.6"), ("X-Real-IP", "6.6.6.6"), ("True-Client-IP", "6.6.6.6"),
        ("CF-Connecting-IP", "6.6.6.6"), ("X-Request-ID", "evil-id"), ("X-GW-User", "999"), ("X_GW_User", "999"),
        ("x-gw-scopes", "admin"), ("X-GW_Token", "evil-token"), ("X-GW-Anything", "evil"), ("X-API_Key", "evil-key"),
        ("X_API_Key", "evil-key"), ("Referer", "https://evil.example/"), ("User-Agent", "evil-agent"), ("Range", "bytes=0-1"),
        ("X-Imgproxy-Width", "1"), ("Save-Data", "on"), ("DPR", "3"),
    ]


def test_an_image_server_sees_no_more_than_it_needs(recorded):
    stack, image, _ = recorded
    image.requests.clear()
    headers = [*smuggled(stack, stack.api_key), ("Accept", "image/webp,*/*"), ("If-None-Match", '"tag"')]
    answer = stack.get(image_path("local:///a.jpg", "w:8") + "?secret=1", stack.api_key, headers)
    assert answer.status == 200 and answer.body == PNG, answer
    [(method, target, seen, body)] = image.requests
    names = {name.lower(): value for name, value in seen}
    assert (method, body) == ("GET", b"") and "secret" not in target and "plain" not in target
    assert sorted(names) == ["accept", "host", "if-none-match", "x-request-id"], seen
    assert (names["host"], names["accept"], names["if-none-match"]) == ("imgproxy", "image/webp,*/*", '"tag"')
    assert names["x-request-id"] == answer.header("X-Request-ID") not in ("evil-id", "theirs")
    assert stack.api_key not in str(seen) + target
    # Nor does the client see what the server had no business to say.
    assert answer.all("Set-Cookie") == [] and answer.all("Access-Control-Allow-Origin") == []


def test_a_head_is_a_get_for_the_image_server(recorded):
    stack, image, _ = recorded
    image.requests.clear()
    assert stack.request("HEAD", image_path("local:///a.jpg"), stack.api_key).status == 200
    assert [request[0] for request in image.requests] == ["GET"]


def test_no_request_without_a_verdict_gets_there(recorded):
    stack, image, api = recorded
    image.requests.clear(), api.requests.clear()
    spoofed = [("X-GW-User", "1"), ("X-GW-Token", stack.settings["API_TOKEN"]), ("X-GW-Scopes", "read,upload,admin")]
    for method, target in (("GET", "/img/unsafe/plain/local:///a.jpg"), ("POST", "/api/v1/upload"), ("GET", "/api/v1/users")):
        assert stack.request(method, target, None, spoofed, b"x" if method == "POST" else None).status == 401
    assert image.requests == api.requests == []


def test_the_api_gets_the_gateways_word_and_no_credential(recorded, small_jpeg):
    stack, _, api = recorded
    key = stack.make_key(scopes="upload")
    api.requests.clear()
    kind, body = multipart(small_jpeg)
    answer = stack.request("POST", "/api/v1/upload", key, [("Content-Type", kind), *smuggled(stack, key.key)], body)
    assert answer.status == 200, answer
    [(method, target, seen, got)] = api.requests
    assert (method, target, got) == ("POST", "/api/v1/upload", body)
    ours = {"x-gw-user": str(key.user.id), "x-gw-key": str(key.id), "x-gw-scopes": "upload",
            "x-gw-token": stack.settings["API_TOKEN"], "x-request-id": answer.header("X-Request-ID"), "host": "gateway-api"}
    names = [name.lower().replace("_", "-") for name, _ in seen]
    for name, value in ours.items():
        assert names.count(name) == 1, seen
        assert [text for other, text in seen if other.lower() == name] == [value]
    assert [name for name in names if name.startswith("x-gw-")] and "x-gw-anything" not in names
    for gone in ("authorization", "proxy-authorization", "cookie", "x-api-key", "x-forwarded-for", "forwarded", "x-real-ip"):
        assert gone not in names, gone
    assert key.key not in str(seen)
