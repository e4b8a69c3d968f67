"""The stand-in for imgproxy, beside what was measured on imgproxy 4.0.12.

Each vector gives a path behind the signature, the status, and what was served. The stand-in must give the same: the
gateway's confinement is tested against it, so it may neither confine nor refuse more than imgproxy does.

What it does not do, of what the open imgproxy 4 does: sources on s3, gs, abs and swift; results and sources in bmp,
ico, heic and jxl; animations; watermarks (the option is read, and there is no image for it); gravity that looks for
what is interesting (sm is the middle); max_bytes, preserve_hdr, enforce_thumbnail, strip_metadata and
strip_color_profile (read, without effect); SVG is not cleaned; Accept, client hints and cookies; PATH_PREFIX,
ARGUMENTS_SEPARATOR, URL_REPLACEMENTS, presets from a file; the limits of its queue and of a request's time (429, 503,
499); metrics; numbers like "inf" and "nan" are refused.
"""

import os
import subprocess
import threading
import time
from http import server as http_server

import pytest
from PIL import Image

import helpers_http as http
import helpers_images as images
from helpers_standin import SIDE, Standin, b64, marker, redenormalised, seen, signature, signed

A = "local:///tenants/a/cat.jpg"
B = "local:///tenants/b/secret.jpg"


@pytest.fixture(scope="module")
def standin():
    own = Standin()
    yield own
    own.close()


@pytest.fixture
def start():
    """A function that starts one with settings of its own."""
    made = []

    def make(**settings):
        made.append(Standin(**settings))
        return made[-1]

    yield make
    for own in made:
        own.close()


def check(answer, status, served):
    """`served`: "A", "B" or "root" for whose image, bytes for the body, None for anything."""
    assert answer.status == status, answer
    if isinstance(served, str):
        assert seen(answer.body) == served, answer
    elif served is not None:
        assert answer.body == served, answer


# ---- signatures -----------------------------------------------------------------------------------------------------

LONG = "/rs:fill:300:400:0/g:sm/aHR0cDovL2V4YW1w/bGUuY29tL2ltYWdl/cy9jdXJpb3NpdHku/anBn.png"
SIGNATURES = [
    (b"secret", b"hello", LONG, 32, "oKfUtW34Dvo2BGQehJFR4Nr0_rIjOtdtzJ3QFsUcXH8"),
    (b"secret", b"hello", LONG, 31, "oKfUtW34Dvo2BGQehJFR4Nr0_rIjOtdtzJ3QFsUcXA"),
    (b"secret", b"hello", LONG, 16, "oKfUtW34Dvo2BGQehJFR4A"),
    (b"secret", b"hello", LONG, 8, "oKfUtW34Dvo"),
    (b"secret", b"hello", LONG, 1, "oA"),
    (b"test-key", b"test-salt", "/asd", 32, "oWaL7QoW5TsgbuiS9-5-DI8S3Ibbo1gdB2SteJh3a20"),
    (b"test-key", b"test-salt", "/asd", 8, "oWaL7QoW5Ts"),
    (b"test-key2", b"test-salt2", "/asd", 32, "jYz1UZ7j1BCdSzH3pZhaYf0iuz0vusoOTdqJsUT6WXI"),
    (bytes.fromhex("943b421c9eb07c830af81030552c86009268de4e532ba2ee2eab8247c6da0881"),
     bytes.fromhex("520f986b998545b4785e0defbc4f3c1203f22de2374a3d53cb7a7fe9fea309c5"),
     "/rs:fit:300:300/plain/local:///tenants/a/cat.jpg@png", 32, "ssMKk0JSJSKaefXMoMZvC3ZQIwBq0wSDO7NZGi4Lk5E"),
]


@pytest.mark.parametrize("key, salt, text, size, expected", SIGNATURES)
def test_published_signatures(start, key, salt, text, size, expected):
    assert signature(text, key, salt, size) == expected
    own = start(KEY=key.hex(), SALT=salt.hex(), SIGNATURE_SIZE=size)
    assert own.get(f"/{expected}{text}").status != 403
    assert own.get(f"/{expected}{text}x").status == 403


PATH = f"/w:5/plain/{A}"
BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def test_quirks_of_the_signature(standin):
    good = signature(PATH)
    low = BASE64.index(good[-1])
    assert low % 4 == 0
    for unused in range(4):  # the last two bits say nothing
        check(standin.get(f"/{good[:-1]}{BASE64[low + unused]}{PATH}"), 200, "A")
    for bad in (good + "=", good[:10], good + "%0A", good[:-1], good + "A", good[:-1] + BASE64[(low + 4) % 64],
                "insecure", "unsafe", "_", good.replace(good[5], "+", 1)):
        check(standin.get(f"/{bad}{PATH}"), 403, b"Forbidden")


def test_keys_and_salts_are_pairs(start):
    own = start(KEY="6b31,6b32", SALT="7331,7332", TRUSTED_SIGNATURES="letmein")
    for key, salt, status in ((b"k1", b"s1", 200), (b"k2", b"s2", 200), (b"k1", b"s2", 403), (b"k2", b"s1", 403)):
        assert own.get(signed(PATH, key, salt)).status == status, (key, salt)
    check(own.get("/letmein" + PATH), 200, "A")
    assert own.get("/letmein2" + PATH).status == 403


def test_a_short_signature_is_no_other_size(start):
    own = start(SIGNATURE_SIZE=8)
    assert own.get(f"/{signature(PATH, size=8)}{PATH}").status == 200
    assert own.get(f"/{signature(PATH)}{PATH}").status == 403


@pytest.mark.parametrize("settings", [{"KEY": ""}, {"SALT": ""}])
def test_without_keys_anything_passes_but_a_colon(start, settings):
    own = start(**settings)
    check(own.get("/unsafe" + PATH), 200, "A")
    check(own.get("/a:b" + PATH), 403, b"Forbidden")


def test_what_is_not_signed(standin):
    check(standin.get(signed(PATH) + "?w=9&x=%zz"), 200, "A")
    check(standin.get(signed(PATH), [("Cookie", "a=b"), ("Host", "x")]), 200, "A")


def test_the_secret(start):
    own = start(SECRET="word")
    assert own.ask(PATH).status == 403
    for value, status in (("Bearer word", 200), ("bearer word", 403), ("Bearer Word", 403), ("word", 403),
                          ("Bearer wor", 403)):
        assert own.ask(PATH, [("Authorization", value)]).status == status, value
    assert own.get("/health").status == 200 and own.get("/").status == 200
    assert own.get("/x/y", method="HEAD").status == 200


# ---- what is signed for what arrives --------------------------------------------------------------------------------

REDENORMALISED = [
    ("/rs%3Afit%3A1%3A1/plain/local:///x", "/rs:fit:1:1/plain/local:///x"),
    ("/rs%3Afit%3A1%3A1/abc/abc", "/rs:fit:1:1/abc/abc"),
    ("/w:1/plain/http:/h/x", "/w:1/plain/http://h/x"),
    ("/w:1/plain/local:/x", "/w:1/plain/local:///x"),
    ("/w:1/plain/local:///a/x:/y", "/w:1/plain/local:///a/x://y"),
    ("//w:1/plain/local:///x", "/w:1/plain/local:///x"),
    ("/w:1/plain/local:///x?anything", "/w:1/plain/local:///x"),
    ("/plain/http:", "/plain/http:"),
    ("/plain/example.com/x", "/plain/example.com/x"),
    ("/plain/local:/x", "/plain/local:///x"),
    ("//plain/local:/x", "/plain/local:///x"),
    ("/w:1/plain/a%3A/x", "/w:1/plain/a%3A/x"),
    ("/w%3A1/plain/local:///plain/x%3Ay", "/w:1/plain/local:///plain/x%3Ay"),
    ("/w:1/plain/local:/a:/b", "/w:1/plain/local:/a://b"),
    ("/w:1/plain/LOCAL:/x", "/w:1/plain/LOCAL://x"),
    ("/w:1/plain/:/x", "/w:1/plain/:/x"),
]


@pytest.mark.parametrize("arrives, text", REDENORMALISED)
def test_redenormalisation(standin, arrives, text):
    assert redenormalised(arrives.split("?")[0]) == text
    good = signature(text)
    assert standin.get(f"/{good}{arrives}").status != 403
    assert standin.get(f"//{good}{arrives}").status != 403
    assert standin.get(f"///{good}{arrives}").status == 404
    if arrives.split("?")[0] != text:  # it was not signed as it came
        assert standin.get(f"/{signature(arrives)}{arrives}").status == 403


def test_only_capital_escapes_of_the_colon(standin):
    for text in ("/rs:fit:1:1/plain/local:///x", "/rs%3afit%3a1%3a1/plain/local:///x"):
        status = standin.get(f"/{signature(text)}/rs%3afit%3a1%3a1/plain/local:///x").status
        assert status == (403 if "rs:" in text else 404)


# ---- out of one folder into another: imgproxy lets all of these through ---------------------------------------------

UNREACHABLE, INVALID = b"Source is unreachable", b"Invalid URL"
ESCAPES = [
    ("/rs:fit:50:0/bG9jYWw6Ly8vdGVuYW50cy9hLy4uL2Ivc2VjcmV0LmpwZw.png", 200, "B"),
    ("/rs:fit:50:0/plain/local:///tenants/a/%2E%2E%2Fb%2Fsecret.jpg@png", 200, "B"),
    ("/rs:fit:50:0/plain/local:///tenants/a/%c0%ae%c0%ae/b/secret.jpg@png", 404, UNREACHABLE),
    ("/rs:fit:50:0/plain/local://///tenants//b///secret.jpg@png", 200, "B"),
    ("/rs:fit:50:0/bG9jYWw6Ly8vLy8vdGVuYW50cy8vYi8vc2VjcmV0LmpwZw.png", 200, "B"),
    ("/rs:fit:50:0/plain/local://whatever/tenants/b/secret.jpg@png", 200, "B"),
    ("/rs:fit:50:0/bG9jYWw6Ly90ZW5hbnRzL3RlbmFudHMvYi9zZWNyZXQuanBn.png", 200, "B"),
    ("/rs:fit:50:0/plain/local://u:p%40h:80/tenants/b/secret.jpg@png", 200, "B"),
    ("/rs:fit:50:0/bG9jYWw6Ly90ZW5hbnRzL2EvLi4vdGVuYW50cy9iL3NlY3JldC5qcGc.png", 200, "B"),
    ("/rs:fit:50:0/bG9jYWw6Ly8vdGVuYW50cy9iL3NlY3JldC5qcGcjLy4uLy4uL2EvY2F0LmpwZw.png", 200, "A"),
    ("/rs:fit:50:0/plain/local:///tenants/b/secret.jpg%23/../../a/cat.jpg@png", 200, "A"),
    ("/rs:fit:50:0/bG9jYWw6Ly8vdGVuYW50cy9hXC4uXGIvc2VjcmV0LmpwZw.png", 404, UNREACHABLE),
    ("/rs:fit:50:0/plain/local:///tenants/b/secret.jpg%00/../../a/cat.jpg@png", 404, UNREACHABLE),
    ("/rs:fit:50:0/bG9jYWw6Ly8vdGVuYW50cy9iL3NlY3JldC5qcGcK.png", 404, UNREACHABLE),
    ("/rs:fit:50:0/bG9jYWw6Ly8vdGVuYW50cy9iL3NlY3JldC5qcGcv.png", 200, "B"),
    ("/rs:fit:50:0/plain/local:///tenants/b/secret.jpg%3F/plain/local:///tenants/a/cat.jpg@png", 200, "B"),
    ("/raw:1/plain/local:///tenants/b/secret.txt@/../a/cat.jpg", 200, b"text of B"),
    ("/rs:fit:50:0/plain/local:///tenants/b/secret.jpg@png/../../a/cat.jpg", 404, INVALID),
    ("/rs:fit:50:0/bG9jYWw6Ly8vdGVuYW50cy9iL3NlY3JldC5qcGc_eA%3D.png", 404, INVALID),
    ("/rs:fit:50:0///bG9jY//Ww6Ly//8vdGV//uYW50//cy9iL//3NlY3//JldC5//qcGc.png", 200, "B"),
    ("/rs:fit:10:10/rs:fit:50:0/plain/local:///tenants/b/secret.jpg@png", 200, "B"),
    ("/rs:fit:50:0/fn:eCINClNldC1Db29raWU6IGE9Yg:1/plain/local:///tenants/b/secret.jpg@png", 200, "B"),
    ("/w:50/plain/local:///tenants/a/ln.jpg", 200, "B"),
    # Not on the facts page by name, but in its text.
    ("/plain/LOCAL:///tenants/b/secret.jpg", 200, "B"),
    ("/plain/local:/tenants/b/secret.jpg", 200, "B"),
    ("/" + b64("local:/tenants/b/secret.jpg"), 200, "B"),
    ("/" + b64("local:tenants/b/secret.jpg"), 404, UNREACHABLE),
    ("/" + b64("local:///tenants/b/%73ecret.jpg"), 404, UNREACHABLE),
    ("/plain/local:///tenants/b/%2573ecret.jpg", 404, UNREACHABLE),
    ("/" + b64("local:///tenants/a/%2e%2e/b/secret.jpg"), 404, UNREACHABLE),
    ("/plain/local:///../../../../tenants/b/secret.jpg", 200, "B"),
    ("/plain/local:///../../../../etc/passwd", 404, UNREACHABLE),
    ("/plain/local:///tenants/b", 404, UNREACHABLE),
    ("/plain/local:///", 404, UNREACHABLE),
    ("/plain/local:///root.jpg", 200, "root"),
    ("/plain/local:///tenants/b/secret.jpg/x", 404, UNREACHABLE),
    ("/plain/local://a b/tenants/b/secret.jpg".replace(" ", "%20"), 404, UNREACHABLE),
    ("/plain/local://h%3Fx/tenants/b/secret.jpg", 404, UNREACHABLE),
    ("/plain/local://h:x/tenants/b/secret.jpg", 404, UNREACHABLE),
    ("/plain/local://[::1]:80/tenants/b/secret.jpg", 200, "B"),
    ("/plain/file:///etc/passwd", 404, UNREACHABLE),
    ("/plain/s3://bucket/x.jpg", 404, UNREACHABLE),
    ("/plain/tenants/b/secret.jpg", 404, UNREACHABLE),
    ("/plain/http://127.0.0.1:1/x.jpg", 404, UNREACHABLE),
]


@pytest.mark.parametrize("path, status, served", ESCAPES)
def test_escapes(standin, path, status, served):
    answer = standin.ask(path)
    check(answer, status, served)
    assert answer.all("Set-Cookie") == []


def test_allowed_sources_and_base_urls_do_not_confine(start):
    own = start(ALLOWED_SOURCES="local:///tenants/a/, http://*.example/")
    check(own.ask(f"/plain/{A}"), 200, "A")
    check(own.ask(f"/plain/{B}"), 404, b"Invalid source URL")
    check(own.ask("/plain/LOCAL:///tenants/a/cat.jpg"), 404, b"Invalid source URL")
    check(own.ask("/plain/local:///tenants/a/../b/secret.jpg"), 200, "B")
    check(own.ask("/plain/http://a/b.example/x"), 404, b"Invalid source URL")
    own = start(BASE_URL="local:///tenants/a/")
    check(own.ask("/plain/cat.jpg"), 200, "A")
    check(own.ask(f"/plain/{A}"), 200, "A")
    check(own.ask("/plain/../b/secret.jpg"), 200, "B")


# ---- the parser -----------------------------------------------------------------------------------------------------

TEXT = b64(A)
PARSER = [
    ("/fit/100/100/sm/0/plain/" + A, 404), (f"/fit/{TEXT}", 404), ("/foo:1/plain/" + A, 404),
    ("/rs:fit:abc/plain/" + A, 404), (f"/plain/{A}@zzz", 404), (f"/plain/{A}@png@jpg", 404), (f"/plain/{A}@", 200),
    ("/exp:1/plain/" + A, 404), ("/exp:-1/plain/" + A, 200), ("/exp:0/plain/" + A, 200),
    ("/exp:4102444800/plain/" + A, 200), ("/exp:1/exp:0/plain/" + A, 404), ("/exp:x/plain/" + A, 404),
    ("/msr:1/plain/" + A, 403), ("/max_src_resolution:1/plain/" + A, 403), ("/wmu:aHR0cDovL2E/plain/" + A, 404),
    ("/fiu:aHR0cDovL2E/plain/" + A, 404), (f"/enc/{TEXT}", 404), ("/pr:foo/plain/" + A, 404), ("/plain/" + A, 200),
    ("/plain", 404), ("/plain/", 404), ("/w:5//plain/" + A, 404), ("//plain/" + A, 200), ("/%70lain/" + A, 404),
    ("/-/plain/" + A, 404), (f"/w:5%2F{TEXT}", 404), (f"/{TEXT[:8]}%2F{TEXT[8:]}", 404), ("/w:5", 404), ("/w:5/", 404),
    (f"/{TEXT}=.png", 200), (f"/{TEXT}==.png", 200), (f"/{TEXT[:8]}={TEXT[8:]}", 404), (f"/{TEXT}%3D.png", 404),
    (f"/{TEXT[:8]}+{TEXT[8:]}", 404), (f"/{TEXT[:8]}//{TEXT[8:]}", 200), (f"/{TEXT}.p/ng", 200), (f"/{TEXT}.", 200),
    (f"/{TEXT}.png.jpg", 404), (f"/{TEXT}.zzz", 404), (f"/{TEXT}@png", 404), ("/=", 404), ("/.png", 404),
    ("/plain/local:///tenants/a/cat.jpg%40png", 404), ("/plain/local:///tenants/a/c+t.jpg", 404),
    ("/plain/local%3A///tenants/a/cat.jpg", 200), ("/plain/local:%2F%2F/tenants/a/cat.jpg", 200),
    ("/info/" + TEXT, 404),
]


@pytest.mark.parametrize("path, status", PARSER)
def test_parser(standin, path, status):
    answer = standin.ask(path)
    assert answer.status == status, answer
    if status == 200:
        assert seen(answer.body) == "A"


def test_trailing_bits_of_base64_say_nothing(standin):
    text = b64("local:///root.jpg")
    assert len(text) % 4 == 3
    for last in range(4):
        changed = text[:-1] + BASE64[BASE64.index(text[-1]) // 4 * 4 + last]
        check(standin.ask("/" + changed), 200, "root")


def test_file_names_behind_base64_and_other_query_separators(start):
    own = start(BASE64_URL_INCLUDES_FILENAME="true", SOURCE_URL_QUERY_SEPARATOR="|")
    check(own.ask(f"/{TEXT}/anything.png"), 200, "A")
    check(own.ask(f"/{TEXT[:8]}/{TEXT[8:]}/x"), 200, "A")
    check(own.ask(f"/plain/{A}|version"), 200, "A")
    check(own.ask(f"/plain/{A}%3Fversion"), 404, UNREACHABLE)
    own = start(SOURCE_URL_QUERY_SEPARATOR="")
    check(own.ask(f"/plain/{A}%3Fversion"), 404, UNREACHABLE)


def test_the_last_option_wins(standin):
    image = images.decode(standin.ask(f"/rs:fit:10:10/rs:fit:50:0/plain/{A}").body)
    assert image.size == (50, 50)


@pytest.mark.parametrize("path", ["/plain/local:///%zz", "/w:5/%", "/%4/plain/x", "/w:1/plain/a b.jpg", "/plain/a\tb"])
def test_what_no_server_of_go_lets_through(standin, path):
    assert standin.send(http.build("GET", f"/{signature(path)}{path}")).status == 400


@pytest.mark.parametrize("method, target, status", [
    ("GET", "/health", 200), ("GET", "/%68ealth", 200), ("GET", "/health?x", 200), ("GET", "/health/", 404),
    ("GET", "/", 200), ("GET", "/favicon.ico", 404), ("GET", "/.well-known/x", 404), ("HEAD", "/anything", 200),
    ("OPTIONS", "/anything/x", 200), ("POST", "/health", 404), ("PUT", "/x/y", 404), ("DELETE", "/x/y", 404),
    ("PATCH", "/x/y", 404), ("TRACE", "/x/y", 404), ("GET", "/x", 404), ("GET", "/x/", 404),
    ("GET", "http://x/y/z", 403),
])
def test_routes(standin, method, target, status):
    answer = standin.get(target, method=method)
    assert answer.status == status, answer
    assert answer.header("Server") == "imgproxy-standin"
    if target == "/health" and method == "GET":
        assert answer.body == b"imgproxy is running"


# ---- options --------------------------------------------------------------------------------------------------------

BY_NAME = {
    "resize rs": ["fit:10:10", "fill:10:10:1:1", "::", "fill:10:10:1:1:no:1:1", ""],
    "size s": ["10:10", "10", ":10", "10:10:x", "1:1:1:1:fp:0.5:0.5"],
    "resizing_type rt": ["fit", "fill", "fill-down", "force", "auto"],
    "width w": ["0", "10", "+10", "007"], "height h": ["10"], "min-width mw": ["10"], "min-height mh": ["10"],
    "zoom z": ["1.5", "2:0.5", "1e-1"], "dpr": ["2", "0.5"], "enlarge el": ["1", "t", "true", "nonsense", ""],
    "extend ex": ["1", "0", "1:no", "1:fp:0.1:0.9", "1:nowe:3:4"],
    "extend_aspect_ratio extend_ar exar": ["1", "1:so"],
    "gravity g": ["no", "ce:1:1", "sm", "fp:0:1", "soea:-5:0.5"],
    "crop c": ["10", "10:10", "0.5:0.5:no", "5:5:fp:0.2:0.2", "0:0"],
    "trim t": ["10", "10:ff0000", "10:f00:1:1", "", "-1"], "padding pd": ["1", "1:2", "1:2:3:4", ":2", ""],
    "auto_rotate ar": ["1", "x"], "rotate rot": ["90", "-90", "0", "3600"], "flip fl": ["1", "1:1", ":1", ""],
    "background bg": ["255:0:0", "ff0000", "F00", ""], "blur bl": ["0.5", "3"], "sharpen sh": ["0.5"],
    "pixelate pix": ["0", "5", "1000"], "watermark wm": ["0.5", "1:re:1:1:0.5", "0:ce", "0.5:soea:1:1:1:1:1"],
    "strip_metadata sm": ["1", "no"], "keep_copyright kcr": ["0"], "strip_color_profile scp": ["1"],
    "preserve_hdr ph": ["1"], "enforce_thumbnail eth": ["1"], "quality q": ["1", "100"],
    "format_quality fq": ["jpg:50", "jpg:50:webp:60"], "max_bytes mb": ["0", "10000"],
    "format f ext": ["png", "jpg", "jpeg"],
    "skip_processing skp": ["jpg", "png:jpg"], "cachebuster cb": ["anything", "", "%20"],
    "expires exp": ["0", "4102444800"],
    "filename fn": ["name", "", "eHk:1", "eHk=:t", "x:0", "%25"], "return_attachment att": ["1", "0"],
}
BAD = {
    "resize rs": ["nonsense", "fit:1:1:1:1:sm", "fit:a", "fit:1:b", "fit:1:1:1:1:no:1:1:1", "fit:-1"],
    "size s": ["a", "1:a", "1:1:1:1:xx", "1:1:1:1:no:1:1:1"], "resizing_type rt": ["", "FIT", "crop", "fit:1"],
    "width w": ["", "-1", "1.5", "1_0", "0x1", "%201", "1:1", "99999999999999999999"], "height h": ["a"],
    "min-width mw": ["-1"], "min-height mh": ["x"], "zoom z": ["0", "-1", "", "1:0", "1:1:1", "1:"],
    "dpr": ["0", "-1", "", "1:1"],
    "enlarge el": ["1:1"], "extend ex": ["1:sm", "1:", "1:no:1:1:1"], "extend_aspect_ratio extend_ar exar": ["1:sm"],
    "gravity g": ["", "xx", "sm:1", "fp", "fp:1", "fp:2:0", "no:a", "no:1:1:1", "re"],
    "crop c": ["", "-1", "1:-1", "1:1:xx", "1:1:no:1:1:1"], "trim t": ["a", "1:zz", "1:1:1:1:1"],
    "padding pd": ["-1", "1:a", "1:1:1:1:1"], "auto_rotate ar": ["1:1"], "rotate rot": ["45", "", "9.0", "90:1"],
    "flip fl": ["1:1:1"],
    "background bg": ["256:0:0", "1:2", "ggg", "1:2:3:4", "ff00", "-1:0:0"], "blur bl": ["0", "-1", "", "1:1"],
    "sharpen sh": ["0"],
    "pixelate pix": ["-1", "1.5"], "watermark wm": ["2", "", "0.5:sm", "0.5:xx", "0.5:ce:a", "1:1:1:1:1:1:1:1"],
    "strip_metadata sm": ["1:1"], "quality q": ["0", "101", "", "x"],
    "format_quality fq": ["jpg", "zzz:1", "jpg:0", "jpg:50:png"],
    "max_bytes mb": ["-1", "x"], "format f ext": ["", "zzz", "PNG", "png:jpg"], "skip_processing skp": ["zzz", ""],
    "cachebuster cb": ["a:b"], "expires exp": ["", "x", "1.5", "0:0", "99999999999999999999"],
    "filename fn": ["*:1", "a:1:1"],
    "return_attachment att": ["1:1"], "raw": ["1:1"], "preset pr": ["", "nothing"],
}


@pytest.mark.parametrize("names", BY_NAME)
def test_an_option_by_all_its_names(standin, names):
    for name in names.split():
        for arguments in BY_NAME[names]:
            answer = standin.ask(f"/{name}:{arguments}/plain/{A}@png")
            assert answer.status == 200 and answer.header("Content-Type") == "image/png", (name, arguments, answer)


@pytest.mark.parametrize("names", BAD)
def test_bad_arguments(standin, names):
    for name in names.split():
        for arguments in BAD[names]:
            answer = standin.ask(f"/{name}:{arguments}/plain/{A}@png")
            assert (answer.status, answer.body) == (404, b"Invalid URL"), (name, arguments, answer)


def test_names_that_are_none(standin):
    for name in ("W", "WIDTH", "min_width", "crop_", "", "max_animation_frame", "hs", "wmt", "st", "ush", "obj_w",
                 "dpi", "unsafe"):
        assert standin.ask(f"/{name}:1/plain/{A}").status == 404, name


SECURITY = ["max_src_resolution msr", "max_src_file_size msfs", "max_animation_frames maf",
            "max_animation_frame_resolution mafr", "max_result_dimension mrd"]


def test_security_options(standin, start):
    for name in " ".join(SECURITY).split():
        assert standin.ask(f"/{name}:1/plain/{A}").status == 403
    own = start(ALLOW_SECURITY_OPTIONS="true")
    check(own.ask(f"/msr:0.001/plain/{A}"), 422, b"Invalid source image")
    check(own.ask(f"/msfs:10/plain/{A}"), 422, b"Invalid source image")
    assert images.decode(own.ask(f"/mrd:20/plain/{A}").body).size == (20, 20)
    for option in ("maf:1", "mafr:1", "msr:50"):
        assert own.ask(f"/{option}/plain/{A}").status == 200


@pytest.mark.parametrize("options, size", [
    ("rs:fit:30:20", (20, 20)), ("rs:fill:30:20", (30, 20)), ("rs:force:30:20", (30, 20)), ("w:10/dpr:2", (20, 20)),
    ("w:100", (64, 64)), ("w:100/el:1", (100, 100)), ("z:0.5", (32, 32)), ("z:2/el:1", (128, 128)),
    ("mw:100", (100, 100)),
    ("c:20:10", (20, 10)), ("c:0.5:0.25", (32, 16)), ("w:10/h:20/ex:1", (10, 20)), ("w:10/h:20/exar:1", (10, 20)),
    ("w:10/pd:1:2:3:4", (16, 14)),
    ("w:10/pd:5", (20, 20)), ("rs:fill:30:20/rot:90", (30, 20)), ("rs:fill-down:200:100", (64, 32)),
    ("rs:auto:30:20", (30, 20)),
    ("h:16", (16, 16)), ("size:8", (8, 8)),
])
def test_sizes(standin, options, size):
    assert images.decode(standin.ask(f"/{options}/plain/{A}@png").body).size == size


def test_what_is_easily_seen(standin):
    picture = Image.new("RGBA", (40, 40), (0, 0, 0, 0))
    picture.paste((250, 0, 0, 255), (0, 0, 20, 40))
    standin.write("half.png", images.encode(picture, "PNG"))

    def pixel(options, at):
        return images.decode(standin.ask(f"/{options}/plain/local:///half.png@png").body).convert("RGBA").getpixel(at)

    assert pixel("w:40", (5, 20)) == (250, 0, 0, 255) and pixel("w:40", (35, 20))[3] == 0
    assert pixel("fl:1", (35, 20)) == (250, 0, 0, 255)
    assert pixel("rot:90", (20, 5)) == (250, 0, 0, 255) and pixel("rot:90", (20, 35))[3] == 0
    assert pixel("bg:0:0:255", (35, 20)) == (0, 0, 255, 255)
    assert pixel("c:10:10:ea", (5, 5))[3] == 0 and pixel("c:10:10:we", (5, 5)) == (250, 0, 0, 255)
    assert images.decode(standin.ask("/t:10/plain/local:///half.png@png").body).size == (20, 40)


def test_formats(standin):
    for extension, kind in (("png", "PNG"), ("jpg", "JPEG"), ("jpeg", "JPEG"), ("webp", "WEBP"), ("gif", "GIF"),
                            ("tiff", "TIFF")):
        assert images.decode(standin.ask(f"/plain/{A}@{extension}").body).format == kind
        assert images.decode(standin.ask(f"/f:gif/{TEXT}.{extension}").body).format == kind
    for extension in ("svg", "bmp", "ico", "heic", "jxl"):
        assert standin.ask(f"/plain/{A}@{extension}").status == 422, extension
    assert standin.ask(f"/plain/{A}@avif").header("Content-Type") == "image/avif"


def test_svg_goes_through_unless_another_format_is_asked_for(standin):
    text = (b'<svg xmlns="http://www.w3.org/2000/svg" width="30" height="20">'
            b'<rect width="30" height="20" fill="red"/></svg>')
    standin.write("x.svg", text)
    answer = standin.ask("/w:5/plain/local:///x.svg")
    assert (answer.header("Content-Type"), answer.body) == ("image/svg+xml", text)
    assert images.decode(standin.ask("/w:15/plain/local:///x.svg@png").body).size == (15, 10)


def test_skip_processing(standin):
    assert standin.ask(f"/w:5/skp:jpg/plain/{A}").body == marker("A")
    assert standin.ask(f"/w:5/skp:png/plain/{A}").body != marker("A")


def test_filenames(standin):
    for options, value in (("", 'inline; filename="cat.jpg"'), ("fn:dog/", 'inline; filename="dog.jpg"'),
                           ("att:1/", 'attachment; filename="cat.jpg"'),
                           ("fn:eCINClNldC1Db29raWU6IGE9Yg:1/", 'inline; filename="x%22%0D%0ASet-Cookie:%20a=b.jpg"')):
        assert standin.ask(f"/{options}plain/{A}").header("Content-Disposition") == value


# ---- presets --------------------------------------------------------------------------------------------------------

def test_presets(start):
    own = start(PRESETS="default=f:png, small=w:10/h:10, deep = pr:small / w:20".replace(" / ",
                                                                                         "/") + ",loop=pr:loop/w:7")
    first = images.decode(own.ask(f"/plain/{A}").body)
    assert (first.format, first.size) == ("PNG", (SIDE, SIDE))
    for options, side in (("pr:small", 10), ("preset:deep", 10), ("pr:small/w:5", 5), ("pr:loop", 7),
                          ("h:5/pr:deep/h:30", 20)):
        assert images.decode(own.ask(f"/{options}/plain/{A}").body).size == (side, side), options
    for options in ("pr:none", "pr:small:none", "pr:Small", "pr:default:"):
        assert own.ask(f"/{options}/plain/{A}").status == 404, options
    own = start(PRESETS="small=w:10,png=f:png", ONLY_PRESETS="1")
    answer = images.decode(own.ask(f"/small:png/plain/{A}").body)
    assert (answer.format, answer.size) == ("PNG", (10, 10))
    assert own.ask(f"/w:10/plain/{A}").status == 404 and own.ask(f"/small/png/plain/{A}").status == 404


@pytest.mark.parametrize("presets", ["x", "x=", "=w:1", "x=w:1=2", "x=foo:1", "x=w:a", "x=w:1/plain", "x=pr:none"])
def test_presets_that_are_none(presets):
    with pytest.raises(AssertionError, match="IMGPROXY_PRESETS"):
        Standin(PRESETS=presets).close()


def test_allowed_options(start):
    own = start(ALLOWED_PROCESSING_OPTIONS="w,pr", PRESETS="x=h:10")
    for options, status in (("w:5", 200), ("width:5", 404), ("h:5", 404), ("pr:x", 200), ("raw:1", 404)):
        assert own.ask(f"/{options}/plain/{A}@png").status == status, options


# ---- raw ------------------------------------------------------------------------------------------------------------

def test_raw(standin):
    answer = standin.ask(f"/raw:1/plain/{A}@nonsense")
    assert (answer.status, answer.body) == (200, marker("A"))
    answer = standin.ask("/raw:t/plain/local:///tenants/b/secret.txt", [("Range", "bytes=5-6")])
    assert (answer.status, answer.body, answer.header("Content-Range")) == (206, b"of", "bytes 5-6/9")
    check(standin.ask("/raw:1/plain/local:///tenants/b"), 404, b"/tenants/b is directory")
    check(standin.ask("/raw:1/plain/local:///x.jpg"), 404, b"/x.jpg doesn't exist")
    check(standin.ask("/raw:nonsense/plain/local:///tenants/b/secret.txt"), 422, b"Invalid source image")


def test_validators_are_the_sources(standin):
    first = standin.ask(f"/w:5/plain/{A}")
    other = standin.ask(f"/w:9/plain/{A}")
    assert first.header("ETag") == other.header("ETag") and first.header("Last-Modified")
    assert first.header("Cache-Control") == "max-age=31536000, public"
    for name, value in (("If-None-Match", first.header("ETag")), ("If-Modified-Since", first.header("Last-Modified"))):
        assert standin.ask(f"/w:5/plain/{A}", [(name, value)]).status == 304
    soon = int(time.time()) + 100
    assert int(standin.ask(f"/exp:{soon}/plain/{A}").header("Cache-Control").split("=")[1].split(",")[0]) <= 100


# ---- bounds ---------------------------------------------------------------------------------------------------------

def test_what_is_no_image(standin):
    standin.write("empty.jpg", b"")
    for name in ("tenants/b/secret.txt", "empty.jpg"):
        check(standin.ask(f"/plain/local:///{name}"), 422, b"Invalid source image")


def test_bounds(start):
    own = start(MAX_SRC_RESOLUTION="0.004", MAX_RESULT_DIMENSION="50")
    check(own.ask(f"/plain/{A}"), 422, b"Invalid source image")
    own = start(MAX_SRC_FILE_SIZE="100")
    check(own.ask(f"/plain/{A}"), 422, b"Invalid source image")
    assert own.ask(f"/raw:1/plain/{A}").status == 200
    own = start(MAX_RESULT_DIMENSION="50")
    for options, size in (("rs:force:20000:10000:1", (50, 25)), ("w:64", (50, 50)), ("w:20", (20, 20)),
                          ("w:20/pd:40", (50, 50)), ("w:10/h:500/ex:1", (1, 50))):
        assert images.decode(own.ask(f"/{options}/plain/{A}@png").body).size == size, options


# ---- sources on web servers -----------------------------------------------------------------------------------------


class Web:
    """A web server on 127.0.0.1 that misbehaves on demand."""

    def __init__(self):
        web = self
        self.requests = []

        class Handler(http_server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                web.requests.append((self.path, dict(self.headers)))
                status, headers, body = web.answer(self.path, self.headers)
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        self.server = http_server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()

    def answer(self, path, headers):
        word, _, rest = path[1:].partition("/")
        if word == "status":
            return int(rest), {}, b"no"
        if word == "redirect":
            left = int(rest)
            return 302, {"Location": f"/redirect/{left - 1}" if left > 1 else "/a.jpg"}, b""
        if word == "to":
            return 302, {"Location": bytes.fromhex(rest).decode()}, b""
        if word == "slow":
            time.sleep(3)
        if headers.get("If-None-Match") == '"web"':
            return 304, {"ETag": '"web"'}, b""
        return 200, {"ETag": '"web"', "Content-Type": "image/jpeg"}, marker("A")

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture(scope="module")
def web():
    own = Web()
    yield own
    own.close()


@pytest.fixture(scope="module")
def fetching(web):
    own = Standin(ALLOW_LOOPBACK_SOURCE_ADDRESSES="true", DOWNLOAD_TIMEOUT=1)
    yield own
    own.close()


def test_loopback_is_refused_unless_allowed(standin, fetching, web):
    web.requests.clear()
    for host in ("127.0.0.1", "localhost", "127.1.2.3", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]", "2130706433",
                 "0x7f.1", "[::]"):
        check(standin.ask(f"/plain/http://{host}:{web.port}/a.jpg"), 404, UNREACHABLE)
    for host in ("169.254.169.254", "[fe80::1]"):
        check(standin.ask(f"/plain/http://{host}:{web.port}/latest"), 404, UNREACHABLE)
    assert web.requests == []
    check(fetching.ask(f"/plain/{web.url}/a.jpg"), 200, "A")
    assert len(web.requests) == 1


def test_a_redirect_is_checked_as_well(web, start):
    own = start(ALLOW_LOOPBACK_SOURCE_ADDRESSES="true")
    to = f"http://169.254.169.254:{web.port}/".encode().hex()
    check(own.ask(f"/plain/{web.url}/to/{to}"), 404, UNREACHABLE)


def test_redirects(fetching, web, start):
    check(fetching.ask(f"/plain/{web.url}/redirect/10"), 200, "A")
    check(fetching.ask(f"/plain/{web.url}/redirect/11"), 404, UNREACHABLE)
    own = start(ALLOW_LOOPBACK_SOURCE_ADDRESSES="true", MAX_REDIRECTS=0)
    check(own.ask(f"/plain/{web.url}/a.jpg"), 200, "A")
    check(own.ask(f"/plain/{web.url}/redirect/1"), 404, UNREACHABLE)


def test_a_redirect_can_lead_to_a_file(fetching, web, start):
    """Read in imgproxy's code, not measured: Go's client follows to every scheme that it knows."""
    path = f"/plain/{web.url}/to/{B.encode().hex()}"
    check(fetching.ask(path), 200, "B")
    own = start(ALLOW_LOOPBACK_SOURCE_ADDRESSES="true", MAX_REDIRECTS=0)
    check(own.ask(path), 404, UNREACHABLE)


@pytest.mark.parametrize("source, status", [(401, 401), (403, 403), (404, 404), (410, 410), (429, 429), (500, 502),
                                            (503, 502), (204, 404), (206, 404)])
def test_statuses_of_the_source(fetching, web, source, status):
    assert fetching.ask(f"/plain/{web.url}/status/{source}").status == status


def test_raw_statuses_are_the_sources(fetching, web):
    check(fetching.ask(f"/raw:1/plain/{web.url}/status/503"), 503, b"no")
    check(fetching.ask(f"/raw:1/plain/{web.url}/status/404"), 404, b"no")


def test_a_slow_source(fetching, web):
    begin = time.monotonic()
    check(fetching.ask(f"/plain/{web.url}/slow"), 504, UNREACHABLE)
    assert time.monotonic() - begin < 2.5


def test_a_source_that_is_too_large(web, start):
    own = start(ALLOW_LOOPBACK_SOURCE_ADDRESSES="true", MAX_SRC_FILE_SIZE=100)
    check(own.ask(f"/plain/{web.url}/a.jpg"), 422, b"Invalid source image")


def test_what_a_web_server_gets_to_see(fetching, web):
    web.requests.clear()
    check(fetching.ask(f"/plain/{web.url}/a%20b/../%2525?q=1".replace("?", "%3F"),
                       [("Cookie", "a=b"), ("Authorization", "x")]), 200, "A")
    [(path, headers)] = web.requests
    assert path == "/a%20b/../%25?q=1"
    assert not {"Cookie", "Authorization", "Referer"} & set(headers)
    answer = fetching.ask(f"/plain/{web.url}/a.jpg", [("If-None-Match", '"web"')])
    assert answer.status == 304 and answer.header("ETag") == '"web"'


def test_private_addresses():
    """In a network of their own: a stand-in that fetches, and another that is the private address's web server."""
    if os.geteuid() != 0 or subprocess.run(["unshare", "-n", "true"], check=False).returncode != 0:
        pytest.skip("no network namespace can be made here")
    script = ("ip link set lo up && ip addr add 10.9.8.7/32 dev lo || exit 1; "
              "IMGPROXY_KEY= IMGPROXY_NETWORK=tcp IMGPROXY_BIND=10.9.8.7:8000 \"$0\" & exec \"$0\"")
    if subprocess.run(["unshare", "-n", "sh", "-c", "ip link set lo up"], check=False).returncode != 0:
        pytest.skip("there is no ip program")
    path = f"/plain/http://10.9.8.7:8000/x/plain/{B}"
    for allow, statuses in (("true", (200,)), ("false", (404,))):
        own = Standin(("unshare", "-n", "sh", "-c", script), ALLOW_PRIVATE_SOURCE_ADDRESSES=allow)
        try:
            end = time.monotonic() + 10
            while (answer := own.ask(path)).status not in statuses and time.monotonic() < end:
                time.sleep(0.05)
            assert answer.status in statuses, answer
            assert allow == "false" or seen(answer.body) == "B"
        finally:
            own.close()
