"""Load on a gateway, as its users make it: uploads, resizes of what was uploaded, and what gets refused. docs/load.md

    locust -f tests/load/locustfile.py --headless -u 20 -r 5 -t 60s -H http://127.0.0.1:8080

Keys come from the environment, never from the command line:

GATEWAY_API_KEY      scopes read and upload; should have no limits, or limits above the load
GATEWAY_LIMITED_KEY  one with a small limit; without it nothing asks beyond a limit
GATEWAY_SIGNING      KEY_ID:KEY:SALT (the last two in hex) of a signing key of the same user; without it nothing is signed
LOAD_RESULT          a file that gets {"requests": N, "failures": N} at the end; for make load

An answer that is refused as it should be is no failure: it stands in a row of its own, with its code. Anything else that
is not wanted is one, and makes locust end with status 1.
"""

import base64
import hashlib
import hmac
import itertools
import json
import os
import random
import sys

from locust import FastHttpUser, between, events, task

HERE = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(HERE, "../../compose/local/sample.jpg"), "rb") as photo:
    SAMPLE = photo.read()

KEY = os.environ.get("GATEWAY_API_KEY", "")
LIMITED_KEY = os.environ.get("GATEWAY_LIMITED_KEY", "")
SIGNING = os.environ.get("GATEWAY_SIGNING", "").split(":")

SIZES = ((120, 80), (300, 200), (640, 427), (1280, 853))
TYPES = {"jpg": (b"\xff\xd8\xff", "image/jpeg"), "png": (b"\x89PNG", "image/png"), "webp": (b"RIFF", "image/webp")}
KEPT = 8  # sources that one user asks for

_numbers = itertools.count()


@events.init.add_listener
def check_keys(**_):
    if not KEY:
        sys.exit("GATEWAY_API_KEY is not set")


@events.quitting.add_listener
def tell_result(environment, **_):
    if os.environ.get("LOAD_RESULT"):
        total = environment.stats.total
        with open(os.environ["LOAD_RESULT"], "w", encoding="utf-8") as file:
            json.dump({"requests": total.num_requests, "failures": total.num_failures}, file)


def new_photo():
    """The sample with a comment (a COM segment after the start of the image): a file like no other."""
    text = f"{os.getpid()}-{next(_numbers)}-{random.getrandbits(64):x}".encode()
    return SAMPLE[:2] + b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text + SAMPLE[2:]


def as_form(data):
    boundary = "----gateway" + "%x" % random.getrandbits(64)
    head = (f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="photo.jpg"\r\n'
            "Content-Type: image/jpeg\r\n\r\n").encode()
    return f"multipart/form-data; boundary={boundary}", head + data + f"\r\n--{boundary}--\r\n".encode()


def sign(path):
    """imgproxy's own signature, over the path behind /signed/KEY_ID/SIGNATURE."""
    key_id, key, salt = SIGNING
    digest = hmac.new(bytes.fromhex(key), bytes.fromhex(salt) + path.encode(), hashlib.sha256).digest()
    return f"/signed/{key_id}/{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}{path}"


def code_of(answer):
    try:
        return json.loads(answer.text or "")["code"]
    except (ValueError, KeyError, TypeError):
        return "no problem+json"


class Customer(FastHttpUser):
    """Uploads once, then mostly asks for images, as a site does."""

    wait_time = between(0.02, 0.2)
    network_timeout = 60.0
    connection_timeout = 10.0

    def on_start(self):
        self.sources = []
        self.upload()

    # ---- uploads ------------------------------------------------------------------------------------------------------

    @task(2)
    def upload(self):
        data = new_photo()
        kind, body = as_form(data) if random.random() < 0.5 else ("image/jpeg", data)
        name = "upload (form)" if kind.startswith("multipart") else "upload (raw)"
        with self.client.post("/api/v1/upload", data=body, headers={"X-API-Key": KEY, "Content-Type": kind}, name=name,
                              catch_response=True) as answer:
            if not self.wanted(answer, 200):
                return
            made = json.loads(answer.text)
            if made["sha256"] != hashlib.sha256(data).hexdigest() or made["bytes"] != len(data):
                answer.failure("the upload is not what was sent")
                return
            self.sources = [made["source"], *self.sources[:KEPT - 1]]

    # ---- images -------------------------------------------------------------------------------------------------------

    def path(self):
        width, height = random.choice(SIZES)
        ending = random.choice(list(TYPES))
        return f"/rs:fill:{width}:{height}/plain/{random.choice(self.sources)}@{ending}", ending

    @task(20)
    def resize(self):
        if self.sources:
            path, ending = self.path()
            self.image("/img/unsafe" + path, ending, "resize", {"X-API-Key": KEY})

    @task(5)
    def resize_as_bearer(self):
        if self.sources:
            path, ending = self.path()
            self.image("/img/unsafe" + path, ending, "resize (bearer)", {"Authorization": "Bearer " + KEY})

    @task(10)
    def signed(self):
        if self.sources and len(SIGNING) == 3:
            path, ending = self.path()
            self.image(sign(path), ending, "resize (signed)", {})

    def image(self, path, ending, name, headers):
        with self.client.get(path, headers=headers, name=name, catch_response=True) as answer:
            if not self.wanted(answer, 200):
                return
            begins, kind = TYPES[ending]
            if not answer.content.startswith(begins) or answer.headers.get("content-type") != kind:
                answer.failure(f"this is no {ending}")

    @task(2)
    def not_modified(self):
        if not self.sources:
            return
        path = f"/img/unsafe/rs:fill:300:200/plain/{self.sources[0]}@png"
        with self.client.get(path, headers={"X-API-Key": KEY}, name="resize", catch_response=True) as answer:
            tag = answer.headers.get("etag") if self.wanted(answer, 200) else None
        if tag:
            with self.client.get(path, headers={"X-API-Key": KEY, "If-None-Match": tag}, name="resize (not modified)",
                                 catch_response=True) as answer:
                self.wanted(answer, 304)

    # ---- what is to be refused ----------------------------------------------------------------------------------------

    @task(2)
    def without_a_key(self):
        if self.sources:
            self.refused("/img/unsafe" + self.path()[0], {}, 401, "key_missing")

    @task(1)
    def with_a_wrong_key(self):
        if self.sources:
            self.refused("/img/unsafe" + self.path()[0], {"X-API-Key": KEY[:-1] + ("0" if KEY[-1] != "0" else "1")}, 401,
                         "key_invalid")

    @task(1)
    def of_a_stranger(self):
        self.refused("/img/unsafe/rs:fill:300:200/plain/local:///" + "0" * 32 + ".jpg", {"X-API-Key": KEY}, 404, "not_found")

    @task(1)
    def with_a_broken_url(self):
        self.refused("/img/unsafe/rs:fill:300:200", {"X-API-Key": KEY}, 400, "url_invalid")

    @task(1)
    def with_a_forged_signature(self):
        if self.sources and len(SIGNING) == 3:
            path = sign(self.path()[0])
            head, _, rest = path[1:].partition("/")
            key_id, _, rest = rest.partition("/")
            forged = ("A" if rest[0] != "A" else "B") + rest[1:]
            self.refused(f"/{head}/{key_id}/{forged}", {}, 403, "signature_invalid")

    @task(4)
    def beyond_a_limit(self):
        """The stranger's file again, so that no image server works for it: 404 within the limit, 429 beyond."""
        if not LIMITED_KEY:
            return
        with self.client.get("/img/unsafe/rs:fill:8:8/plain/local:///" + "0" * 32 + ".jpg", headers={"X-API-Key": LIMITED_KEY},
                             name="refused: not_found (limited key)", catch_response=True) as answer:
            if answer.status_code != 429:
                self.wanted(answer, 404)
                return
            answer.request_meta["name"] = f"refused: {code_of(answer)}"
            if code_of(answer) == "rate_limited" and int(answer.headers.get("retry-after") or 0) > 0:
                answer.success()
            else:
                answer.failure("a 429 without its code or Retry-After")

    def refused(self, path, headers, status, code):
        with self.client.get(path, headers=headers, name=f"refused: {code}", catch_response=True) as answer:
            if answer.status_code == status and code_of(answer) == code:
                answer.success()
            else:
                answer.failure(f"{answer.status_code} {code_of(answer)} instead of {status} {code}")

    @staticmethod
    def wanted(answer, status):
        """Whether the answer has this status; it is marked as a success or a failure."""
        if answer.status_code == status and answer.headers.get("x-request-id"):
            answer.success()
            return True
        answer.failure(f"{answer.status_code} {code_of(answer) if answer.status_code >= 400 else ''}")
        return False
