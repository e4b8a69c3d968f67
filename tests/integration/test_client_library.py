"""imgproxy's official client library (@imgproxy/imgproxy-node of the npm registry) with the gateway.

The library makes URLs for an imgproxy; pointed at <gateway>/signed/<key id>, with that key's signing key and salt, it
makes them for a tenant of the gateway. The first part shows that library and stand-in agree; the second goes through
the whole stack. Without Node.js or the registry all of this is skipped, and says why.
"""

import base64
import secrets
import time
import urllib.parse

import pytest

import helpers_images as images
from helpers import wait_until
from helpers_http import check_problem
from helpers_npm import make_urls
from helpers_signed import SigningKey
from helpers_standin import KEY, SALT, Standin, marker, seen

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
UNICODE = "кот и 猫.jpg"
SOON = 4102444800

# (name, url, options, (format, size) of the result); {name} is the file's, in a source of the form local:///{name}.
CASES = [
    ("no options", "local:///{name}", {}, ("JPEG", (64, 64))),
    ("base64", "local:///{name}", {"resizing_type": "fill", "width": 30, "height": 40}, ("JPEG", (30, 40))),
    ("base64 by name", {"value": "local:///{name}", "displayAs": "base64"}, {"width": 30}, ("JPEG", (30, 30))),
    ("plain", {"value": "local:///{name}", "displayAs": "plain"}, {"width": 30}, ("JPEG", (30, 30))),
    ("plain without options", {"value": "local:///{name}", "displayAs": "plain"}, {}, ("JPEG", (64, 64))),
    ("plain with an extension", {"value": "local:///{name}@png", "displayAs": "plain"}, {"width": 30},
     ("PNG", (30, 30))),
    ("format", "local:///{name}", {"format": "webp", "quality": 80, "gravity": {"type": "sm"}}, ("WEBP", (64, 64))),
    ("format, plain", {"value": "local:///{name}", "displayAs": "plain"}, {"format": "png"}, ("PNG", (64, 64))),
    ("resize", "local:///{name}", {"resize": {"resizing_type": "fill", "width": 20, "height": 10, "enlarge": 1}},
     ("JPEG", (20, 10))),
    ("size", "local:///{name}", {"size": {"width": 20, "height": 10}}, ("JPEG", (10, 10))),
    ("crop", "local:///{name}", {"crop": {"width": 32, "height": 16, "gravity": {"type": "no"}}}, ("JPEG", (32, 16))),
    ("padding", "local:///{name}", {"width": 10, "padding": {"top": 1, "right": 2, "bottom": 3, "left": 4}},
     ("JPEG", (16, 14))),
    ("several", "local:///{name}", {"width": 32, "dpr": 2, "blur": 1, "sharpen": 0.5, "rotate": 90,
                                    "background": "ff0000",
                                    "cachebuster": "v1", "expires": SOON, "auto_rotate": True, "format": "png"},
                                    ("PNG", (64, 64))),
    ("extend", "local:///{name}", {"width": 10, "height": 20, "extend": {"extend": True, "gravity": {"type": "so"}},
                                   "format": "png"}, ("PNG", (10, 20))),
    ("minimum", "local:///{name}", {"min_width": 100, "min_height": 100}, ("JPEG", (100, 100))),
]
# What a caller has to escape: the library does not.
ESCAPED = [
    ("unicode", f"local:///{UNICODE}", {"width": 30, "format": "png"}, ("PNG", (30, 30))),
    ("unicode, plain, escaped by the caller", {"value": "local:///" + urllib.parse.quote(UNICODE),
                                               "displayAs": "plain"},
     {"width": 30}, ("JPEG", (30, 30))),
]
ALL = CASES + ESCAPED


def call(case, name, **more):
    _, url, options, _ = case
    url = ({**url, "value": url["value"].replace("{name}", name)} if isinstance(url, dict)
           else url.replace("{name}", name))
    return {"url": url, "options": options, **more}


def check_image(answer, expected, whose="A"):
    assert answer.status == 200, answer
    image = images.decode(answer.body)
    assert (image.format, image.size) == expected
    assert seen(answer.body) == whose


def other(text, at):
    """The text with one character replaced by another, mostly of the same kind."""
    char = text[at]
    place = ALPHABET.find(char)
    new = ALPHABET[place ^ 1] if place >= 0 else "~"
    return text[:at] + new + text[at + 1:]


# ---- library and stand-in -------------------------------------------------------------------------------------------

ENDPOINT = "http://127.0.0.1:48080"
CAT = "local:///tenants/a/cat.jpg"
TEXT = "bG9jYWw6Ly8vdGVuYW50cy9hL2NhdC5qcGc"
# Made with the library and asked of imgproxy 4.0.12, which answered so.
KNOWN = [
    ({"url": CAT, "options": {"resizing_type": "fill", "width": 300, "height": 400}},
     f"/QEmJrpUnj2qw6OUuwr9ZNILPbjAlJM1NdbcD-NbTKaE/h:400/rt:fill/w:300/{TEXT}", 200),
    ({"url": {"value": CAT, "displayAs": "plain"}, "options": {"width": 50}},
     f"/8F4xURlVxstbJgUd5n28q_pvuwlnhGTn41qal_GCOCU/w:50/plain/{CAT}", 200),
    ({"url": CAT}, f"/km20jMwULcR-hzJ3EB_N6q98rSu8mBYgjqWstnPVtXE/{TEXT}", 200),
    ({"url": CAT, "options": {"format": "webp", "quality": 80, "gravity": {"type": "sm"}}},
     f"/s7sQOvLplUY7Y7xR1o2hQT2Big3VQM8f1QmraPwFeH4/f:webp/g:sm/q:80/{TEXT}", 200),
    ({"url": CAT, "options": {"raw": 1}}, f"/UyX7-Vt0CscC7OOyZFAZ8llrIWiWzpEnwyC6PRYPdGI/raw:t/{TEXT}", 200),
    ({"url": CAT, "options": {"preset": ["thumb", "x"]}},
     f"/zBaA6b8CFz61vJ-wZEizEwx8mu__Dj49YRGZnDnq6h0/pr:thumb:x/{TEXT}", 404),
    ({"url": "local:///tenants/a/кот.jpg", "options": {"width": 50}},
     "/vks6807yw1WnrjjzC8st8xbpJnMIQjdJEOo6ufdIRb0/w:50/bG9jYWw6Ly8vdGVuYW50cy9hL9C60L7Rgi5qcGc", 404),
    ({"url": CAT, "options": {"size": 1}, "info": True},
     f"/info/xpn7TQ1IskNCDQk2MpwQeP3ASFAs2HO-DklVU4VfUYQ/s:t/{TEXT}", 403),
]


def path_of(url, endpoint):
    assert url.startswith(endpoint + "/"), url
    return url[len(endpoint):]


@pytest.fixture(scope="module")
def standin():
    own = Standin()
    yield own
    own.close()


def test_published_urls(standin):
    calls = [{"endpoint": ENDPOINT, "key": KEY.hex(), "salt": SALT.hex(), **known} for known, _, _ in KNOWN]
    for (_, path, status), url in zip(KNOWN, make_urls(calls)):
        assert path_of(url, ENDPOINT) == path
        assert standin.get(path).status == status, path


def test_library_and_stand_in_agree():
    key, salt = secrets.token_hex(32), secrets.token_hex(32)
    standin = Standin(KEY=key, SALT=salt)
    try:
        for folder in ("tenants/a", "."):
            standin.write(f"{folder}/{UNICODE}", marker("A"))
        urls = make_urls([call(case, "tenants/a/cat.jpg", endpoint=ENDPOINT, key=key, salt=salt) for case in ALL])
        for (name, _, _, expected), url in zip(ALL, urls):
            path = path_of(url, ENDPOINT)
            check_image(standin.get(path), expected)
            for at in range(1, 43):
                assert standin.get(other(path, at)).status == 403, (name, at)
            for at in range(45, len(path)):
                assert standin.get(other(path, at)).status == 403, (name, at)
        [unsigned] = make_urls([{"endpoint": ENDPOINT, "url": CAT}])
        assert path_of(unsigned, ENDPOINT) == f"/insecure/{TEXT}" and standin.get(f"/insecure/{TEXT}").status == 403
    finally:
        standin.close()


def test_the_slash_at_the_end_of_an_endpoint():
    """One is taken off, so that `…/signed/7` and `…/signed/7/` are the same; of several, one."""
    base = {"url": CAT, "key": KEY.hex(), "salt": SALT.hex()}
    for endpoint in ("http://h/signed/7", "https://h:1/a/b", "/signed/7"):
        urls = make_urls([{**base, "endpoint": endpoint + end} for end in ("", "/", "//")])
        signature = KNOWN[2][1]
        assert urls == [endpoint + signature, endpoint + signature, endpoint + "/" + signature]


def test_the_keys_of_another_are_none(standin):
    urls = make_urls([{"endpoint": ENDPOINT, "url": CAT, "key": key, "salt": salt}
                      for key, salt in ((SALT.hex(), KEY.hex()), (KEY.hex(), KEY.hex()),
                                        (secrets.token_hex(32), SALT.hex()))])
    for url in urls:
        assert standin.get(path_of(url, ENDPOINT)).status == 403


# ---- library and gateway --------------------------------------------------------------------------------------------


class Signer(SigningKey):
    """A signing key, and what the library makes with it."""

    def targets(self, calls, end=""):
        """Request targets of the calls' URLs."""
        endpoint = f"{self.stack.url}/signed/{self.id}{end}"
        return [url[len(self.stack.url):] for url in make_urls([{"endpoint": endpoint, **self.pair,
                                                                 **one} for one in calls])]

    def target(self, source, **options):
        return self.targets([{"url": source, "options": options}])[0]


@pytest.fixture(scope="module")
def signer(stack):
    own = Signer(stack)
    own.put("cat.jpg", marker("A"))
    own.put(UNICODE, marker("A"))
    return own


@pytest.mark.parametrize("end", ["", "/"], ids=["endpoint", "endpoint with a slash"])
def test_the_gateway_serves_what_the_library_signs(stack, signer, end):
    for case, target in zip(ALL, signer.targets([call(case, "cat.jpg") for case in ALL], end)):
        check_image(stack.get(target), case[3])


def test_nothing_but_the_url_is_asked_for(stack, signer):
    target = signer.target("local:///cat.jpg", width=30)
    assert stack.raw(f"GET {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".encode()).status == 200
    assert stack.request("HEAD", target).status == 200
    check_image(stack.get(target + "?width=9&anything"), ("JPEG", (30, 30)))
    # Somebody else's key beside it, or none that is good, changes nothing.
    for headers in ([("X-API-Key", stack.api_key)], [("Authorization", "Bearer nonsense")]):
        assert stack.get(target, headers=headers).status in (200, 400), headers
    etag = stack.get(target).header("ETag")
    assert stack.get(target, headers=[("If-None-Match", etag)]).status == 304


def test_a_url_whose_slashes_a_proxy_merged(stack, signer):
    [target] = signer.targets([{"url": {"value": "local:///cat.jpg", "displayAs": "plain"}, "options": {"width": 30}}])
    check_image(stack.get(target.replace("local:///", "local:/")), ("JPEG", (30, 30)))
    check_image(stack.get(target.replace("w:30", "w%3A30")), ("JPEG", (30, 30)))


@pytest.mark.parametrize("display", ["base64", "plain"])
def test_one_other_character_anywhere(stack, signer, display):
    [target] = signer.targets([{"url": {"value": "local:///cat.jpg", "displayAs": display},
                                "options": {"width": 30, "quality": 80}}])
    begin = len(f"/signed/{signer.id}/")
    check_image(stack.get(target), ("JPEG", (30, 30)))
    for at in range(begin, len(target)):
        if target[at] == "/":  # another form of the path, which may be refused as such
            answer = stack.get(target[:at] + "." + target[at + 1:])
            assert answer.status in (400, 403), (at, answer)
        else:
            check_problem(stack.get(other(target, at)), 403, "signature_invalid")
    # The last character of a signature has two bits that say nothing: strict about them, too.
    last = begin + 42
    for char in ALPHABET:
        if char != target[last]:
            check_problem(stack.get(target[:last] + char + target[last + 1:]), 403, "signature_invalid")
    for bad in ("=", "A", "%3D", "%0A"):
        check_problem(stack.get(target[:last + 1] + bad + target[last + 1:]), 403, "signature_invalid")
    check_problem(stack.get(target[:last] + target[last + 1:]), 403, "signature_invalid")


def test_other_key_ids(stack, signer):
    rest = signer.target("local:///cat.jpg", width=30)[len(f"/signed/{signer.id}"):]
    plain = stack.make_key(signer.user)
    sibling = Signer(stack, signer.user)
    for key in (signer.id + 1000000, plain.id, sibling.id, 0):
        check_problem(stack.get(f"/signed/{key}{rest}"), 403, "signature_invalid")
    for text in ("", "x", "-1", f"0{signer.id}", f"+{signer.id}", f"{signer.id}.0",
                 f"%3{str(signer.id)[0]}{str(signer.id)[1:]}", "9" * 30):
        assert stack.get(f"/signed/{text}{rest}").status in (400, 403, 404), text


def test_a_tenant_sees_their_own_files(stack, signer):
    stranger = Signer(stack)
    stranger.put("cat.jpg", marker("B"))
    assert seen(stack.get(stranger.target("local:///cat.jpg")).body) == "B"
    for source in (f"local:///../{signer.user.id}/cat.jpg",
                   f"local:///{signer.user.id}/../../{signer.user.id}/cat.jpg",
                   f"local://x/{signer.user.id}/cat.jpg", f"LOCAL:///{signer.user.id}/cat.jpg",
                   "https://example.com/a.jpg"):
        answer = stack.get(stranger.target(source))
        assert answer.status == 403 and answer.code == "source_forbidden", (source, answer)


def test_options_that_are_not_for_tenants(stack, signer):
    for options in ({"raw": True}, {"preset": ["none"]}, {"max_src_resolution": 100},
                    {"watermark_url": "http://h/w.png"}):
        answer = stack.get(signer.target("local:///cat.jpg", **options))
        assert answer.status == 403 and answer.code == "option_forbidden", (options, answer)
    [info] = signer.targets([{"url": "local:///cat.jpg", "options": {"size": 1}, "info": True}])
    assert stack.get(info).status in (400, 403, 404)


def test_expires_of_the_url(stack, signer):
    assert stack.get(signer.target("local:///cat.jpg", expires=int(time.time()) + 60)).status == 200
    check_problem(stack.get(signer.target("local:///cat.jpg", expires=int(time.time()) - 60)), 404, "not_found")


def test_revoked_and_expired_keys(stack):
    own = Signer(stack, expires="1h")
    own.put("cat.jpg", marker("A"))
    target = own.target("local:///cat.jpg")
    assert stack.get(target).status == 200
    stack.sql("UPDATE api_keys SET expires_at = now() - interval '1 hour' WHERE id = %s", (own.id,))
    stack.settle()
    check_problem(stack.get(target), 401, "key_expired")
    check_problem(stack.get(other(target, len(target) - 1)), 403, "signature_invalid")
    stack.done("key", "revoke", own.id)
    stack.settle()
    check_problem(stack.get(target), 401, "key_revoked")
    check_problem(stack.get(other(target, len(target) - 1)), 403, "signature_invalid")


def test_user_scope_and_addresses(stack):
    own = Signer(stack)
    own.put("cat.jpg", marker("A"))
    target = own.target("local:///cat.jpg")
    stack.done("allow", "add", own.user.name, "203.0.113.0/24")
    stack.settle()
    check_problem(stack.get(target), 403, "ip_not_allowed")
    stack.done("user", "disable", own.user.name)
    stack.settle()
    check_problem(stack.get(target), 403, "user_inactive")
    upload = Signer(stack, scopes="upload")
    check_problem(stack.get(upload.target("local:///cat.jpg")), 403, "scope_missing")


def test_limits_and_quotas(stack):
    own = Signer(stack)
    own.put("cat.jpg", marker("A"))
    target = own.target("local:///cat.jpg")
    stack.done("quota", "set", own.user.name, "--requests", 3)
    stack.settle()
    for _ in range(5):  # refused ones cost nothing
        check_problem(stack.get(other(target, len(target) - 1)), 403, "signature_invalid")
    answers = [stack.get(target) for _ in range(4)]
    assert [answer.status for answer in answers] == [200, 200, 200, 429], answers
    check_problem(answers[-1], 429, "quota_requests")
    assert answers[0].header("RateLimit-Policy")
    other_user = Signer(stack)
    other_user.put("cat.jpg", marker("A"))
    stack.done("limit", "set", other_user.user.name, "--per-minute", 2)
    stack.settle()
    target = other_user.target("local:///cat.jpg")
    assert wait_until(lambda: stack.get(target).code == "rate_limited", 10, "the limit of the minute")


def test_rotation_makes_another_signing_key(stack, signer):
    own = Signer(stack)
    own.put("cat.jpg", marker("A"))
    made = stack.done("key", "rotate", own.id, "--grace", "0s")
    stack.settle()
    assert made["signing_key"] != own.pair["key"] and made["signing_salt"] != own.pair["salt"]
    check_problem(stack.get(own.target("local:///cat.jpg")), 401, "key_revoked")
    own.id = made["id"]
    own.take(made)
    check_image(stack.get(own.target("local:///cat.jpg")), ("JPEG", (64, 64)))


def test_the_sources_of_the_cases_are_what_they_say():
    """A case that says base64 and holds none would show nothing."""
    urls = make_urls([call(case, "cat.jpg", endpoint=ENDPOINT, key=KEY.hex(), salt=SALT.hex()) for case in ALL])
    for (name, url, _, _), made in zip(ALL, urls):
        last = made.rpartition("/")[2]
        if isinstance(url, dict) and url["displayAs"] == "plain":
            assert "/plain/local:///" in made, name
        else:
            assert base64.urlsafe_b64decode(last + "=" * (-len(last) % 4)).decode().startswith("local:///"), name
