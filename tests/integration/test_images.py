"""Images: what comes back, and what a tenant cannot reach."""

import base64

import pytest
from PIL import Image

import helpers_http
import helpers_images as images
from helpers import image_path
from helpers_http import check_problem


@pytest.fixture(scope="module")
def uploaded(stack, owner, photo):
    return stack.uploaded(owner, photo)


@pytest.mark.parametrize("ext, kind", [("png", "PNG"), ("webp", "WEBP"), ("jpg", "JPEG")])
def test_a_photograph_comes_back_as(stack, owner, uploaded, ext, kind):
    answer = stack.get(image_path(uploaded["source"], "rs:fill:300:200", ext), owner)
    assert answer.status == 200, answer
    image = images.decode(answer.body)
    assert (image.format, image.size) == (kind, (300, 200))
    assert answer.header("Content-Type") == "image/" + kind.lower()


def test_the_url_of_the_answer_works_as_it_is(stack, owner, uploaded):
    answer = stack.get(uploaded["url"], owner)
    assert answer.status == 200, answer
    image = images.decode(answer.body)
    assert (image.format, image.size) == ("JPEG", (uploaded["width"], uploaded["height"]))


@pytest.mark.parametrize("options, size", [
    ("rs:fit:300:300", (300, 220)), ("w:150", (150, 110)), ("h:110", (150, 110)), ("s:30:22", (30, 22)),
    ("rt:fill/w:50/h:50", (50, 50)), ("rs:fill:40:30/q:10", (40, 30)), ("resize:fill:40:30/quality:90", (40, 30)),
    ("width:40/height:30/resizing_type:force", (40, 30)), ("size:40:30", (40, 29)),
])
def test_options(stack, owner, uploaded, options, size):
    answer = stack.get(image_path(uploaded["source"], options, "png"), owner)
    assert answer.status == 200, answer
    got = images.decode(answer.body).size
    assert abs(got[0] - size[0]) <= 1 and abs(got[1] - size[1]) <= 1, got


@pytest.mark.parametrize("options", ["f:webp", "format:webp", "ext:webp"])
def test_the_format_as_an_option(stack, owner, uploaded, options):
    answer = stack.get(image_path(uploaded["source"], f"w:40/{options}"), owner)
    assert images.decode(answer.body).format == "WEBP"


def test_quality_reaches_the_image_server(stack, owner, uploaded):
    low, high = (len(stack.get(image_path(uploaded["source"], f"w:400/q:{q}", "jpg"), owner).body) for q in (5, 95))
    assert low * 3 < high


def test_the_image_is_the_one_that_was_uploaded(stack, owner):
    picture = Image.new("RGB", (60, 40), (200, 30, 60))
    source = stack.uploaded(owner, images.encode(picture, "PNG"))["source"]
    back = images.decode(stack.get(image_path(source, "rs:fill:30:20", "png"), owner).body).convert("RGB")
    assert back.size == (30, 20) and back.getpixel((15, 10)) == (200, 30, 60)


def test_validators_pass_through_and_are_obeyed(stack, owner, source):
    path = image_path(source, ext="png")
    first = stack.get(path, owner)
    etag, modified = first.header("ETag"), first.header("Last-Modified")
    assert etag and modified and first.header("Cache-Control")
    for headers in ([("If-None-Match", etag)], [("If-Modified-Since", modified)]):
        answer = stack.get(path, owner, headers)
        assert (answer.status, answer.body) == (304, b""), answer
        assert answer.header("ETag") == etag and answer.header("X-Request-ID")
    assert stack.get(path, owner, [("If-None-Match", '"other"')]).status == 200


def test_a_cached_answer_needs_the_key_too(stack, source, owner):
    etag = stack.get(image_path(source), owner).header("ETag")
    check_problem(stack.get(image_path(source), headers=[("If-None-Match", etag)]), 401, "key_missing")


def test_ranges_are_not_passed_on(stack, owner, source):
    answer = stack.get(image_path(source, ext="png"), owner, [("Range", "bytes=0-9")])
    assert answer.status == 200 and images.decode(answer.body).format == "PNG"


@pytest.mark.parametrize("path", [
    "local:///nothing-here.jpg", "local:///" + "a" * 255,
])
def test_no_such_image(stack, owner, path):
    check_problem(stack.get(image_path(path), owner), 404, "not_found")


@pytest.mark.parametrize("options, ext, name", [
    ("w:abc", None, "w"), ("rs:nonsense:1:1", None, "rs"), ("quality:x", None, "quality"), ("", "zzz", None), ("w:%31", None, "w"),
    ("w:1_0", None, "w"), ("w:{1}", None, "w"), ("w:1;raw:1", None, "w"), ("fn:a%2Fb", None, "fn"),
])
def test_values_that_are_none(stack, owner, source, options, ext, name):
    """The gateway knows what imgproxy takes, and says which option is wrong."""
    problem = check_problem(stack.get(image_path(source, options, ext), owner), 400, "url_invalid")
    if name:
        assert f"The option {name} has" in problem["detail"]


def test_a_source_that_cannot_be_decoded(stack, owner):
    whole = images.encode(images.gradient(40, 30), "PNG")
    source = stack.uploaded(owner, whole[:33])["source"]  # signature and IHDR, nothing else
    check_problem(stack.get(image_path(source, ext="png"), owner), 415, "type_unsupported")


FORBIDDEN_OPTIONS = [
    "raw:1", "pr:foo", "preset:foo", "msr:1", "max_src_resolution:100", "mafs:1", "wmu:aHR0cDovL2E", "fiu:aHR0cDovL2E", "hs:aa:bb",
    "unknown:1", "W:1", "enc:1", "sc:1", "da:-1", "preset:sharp/w:1", "w:1/raw:1", "skp:svg", "raw%3A1", "-", "w:1/-/w:2",
    # beyond what one request may cost
    "w:4097", "rs:force:20000:20000:1", "h:2049/dpr:2", "dpr:5", "zoom:4.5", "blur:51", "q:101", "c:5000:1", "pd:3000", "pix:9999",
]


@pytest.mark.parametrize("options", FORBIDDEN_OPTIONS)
def test_options_outside_the_list(stack, owner, source, options):
    problem = check_problem(stack.get(image_path(source, options), owner), 403, "option_forbidden")
    assert problem["detail"].startswith("The option "), problem
    assert problem["detail"].split()[2] in options


def test_a_url_whose_time_is_over(stack, owner, source):
    assert stack.get(image_path(source, "exp:1"), owner).status == 404
    problem = check_problem(stack.get(image_path(source, "exp:1"), owner), 404, "not_found")
    assert "time" in problem["detail"]
    for time in ("0", "-1", "4102444800"):
        assert stack.get(image_path(source, f"exp:{time}/w:10", "png"), owner).status == 200


@pytest.mark.parametrize("path", [
    "/img/", "/img/unsafe", "/img/unsafe/", "/img/unsafe/plain", "/img/unsafe/plain/", "/img/insecure/plain/{s}", "/img/plain/{s}",
    "/img//unsafe/plain/{s}", "/img/unsafe//plain/{s}", "/img/_/plain/{s}", "/img/unsafe/w:1//plain/{s}", "/img/unsafe/%70lain/{s}",
    "/img/unsafe/PLAIN/{s}", "/img/unsafe/plain/{s}@png@jpg", "/img/unsafe/plain/{s}@PNG",
    "/img/unsafe/plain/{s}@p.g", "/img/unsafe/plain/{s}@123456789", "/img/unsafe/w:1",
    "/img/../img/unsafe/plain/{s}", "/img/./unsafe/plain/{s}", "/img/unsafe/rs/plain/{s}", "/img/unsafe//w:1/plain/{s}",
    "/img/unsafe/fit/1/1/sm/0/plain/{s}", "/img/unsafe/w:1//plain/{s}", "/img/unsafe/unsafe/plain/{s}", "/img/unsafe/w:1/../plain/{s}",
])
def test_other_shapes_of_the_path(stack, owner, source, path):
    check_problem(stack.get(path.format(s=source), owner), 400, "url_invalid")


def test_forms_of_one_path(stack, owner, photo):
    """As imgproxy's clients write it, and what browsers and proxies make of it."""
    source = stack.uploaded(owner, photo)["source"]
    text = base64.urlsafe_b64encode(source.encode()).decode()
    chunks = "/".join(text[i:i + 7] for i in range(0, len(text), 7))
    first = stack.get(image_path(source, "rs:fill:30:20", "png"), owner)
    assert first.status == 200, first
    for path in (f"rs:fill:30:20/{text}.png", f"rs:fill:30:20/{text.rstrip('=')}.png", f"rs:fill:30:20/{chunks}.p/ng",
                 f"resize:fill:30:20/f:png/plain/{source}", f"rs%3Afill%3A30%3A20/plain/{source}@png",
                 f"rs:fill:30:20/plain/{source.replace(':///', ':/')}@png", f"rs:fill:30:20/plain/{source.replace(':', '%3A')}@png",
                 f"rs:fill:30:20/f:png/plain/{source}@"):
        answer = stack.get("/img/unsafe/" + path, owner)
        assert (answer.status, answer.body) == (200, first.body), (path, answer)


# ---- another tenant's files -------------------------------------------------------------------------------------------

# {a}, {b}: ids of the two tenants; {own}, {name}: names of their files.
SOURCES = [
    "local:///{name}", "local:///{b}/{name}", "local:///{a}/../{b}/{name}", "local:///../{b}/{name}", "local:///./../{b}/{name}",
    "local:///..%2F{b}%2F{name}", "local:///%2E%2E%2F{b}%2F{name}", "local:///%2e%2e/{b}/{name}", "local:///..%5c{b}%5c{name}",
    "local:///%c0%ae%c0%ae/{b}/{name}", "local://///{b}///{name}", "local://////{b}//{name}", "local:/{b}/{name}",
    "local:/../{b}/{name}", "local://whatever/{b}/{name}", "local://{b}/{name}", "local://u:p%40h:80/{b}/{name}",
    "local://{a}/../{b}/{name}", "local:///{b}/{name}%23/../../{a}/{own}", "local:///{a}\\..\\{b}\\{name}",
    "local:///..\\{b}\\{name}", "local:///{b}/{name}%00/../../{a}/{own}", "local:///{b}/{name}%0a", "local:///{b}/{name}/",
    "local:///{b}/{name}%3F/plain/local:///{own}", "local:///{b}/{name}?/plain/local:///{own}", "local:///{b}/{name}@/../{own}",
    "local:///{b}/{name}@png/../../{own}", "local:///{own}/../../{b}/{name}", "local:///{own}%00/../../{b}/{name}",
    "local:///{own}@/../../{b}/{name}", "local:///%2F{b}%2F{name}", "local:///%252e%252e%252f{b}%252f{name}", "LOCAL:///{b}/{name}",
    "local%3A///{b}/{name}", "local:%2F%2F%2F{b}%2F{name}", "file:///{b}/{name}", "http://127.0.0.1:{image}/health",
    "http://127.0.0.1:{image}/insecure/plain/local:///{b}/{name}", "https://example.com/a.jpg", "s3://bucket/{name}", "gs://b/{name}",
    "abs://b/{name}", "data:image/png;base64,AAAA", "{b}/{name}", "/{b}/{name}", "../{b}/{name}", "local:///{b}:{name}",
    "local:///.part-{name}", "local:///.", "local:///..", "local:///", "local:", "local:///{own}/{b}/{name}", "local:///{b}%2f{name}",
    "local:///{name};{own}", "local:///*{name}", "local:///{b}//{name}", "local:///~/{b}/{name}", "local:///$({name})",
    "local:///{own}local:///{b}/{name}", "local:///{own}%20/../{b}/{name}", "local:///{b}.{name}",
]
PREFIXES = ["", "rs:fit:50:0/", "rs:fit:10:10/rs:fit:50:0/"]


@pytest.fixture(scope="module")
def tenants(stack):
    """Two tenants with a file each: (key of A, values for the sources, bytes of B's file)."""
    a, b = stack.make_key(), stack.make_key()
    secret = images.encode(Image.effect_noise((64, 64), 80), "PNG")
    own = stack.uploaded(a, images.encode(images.gradient(30, 30), "JPEG"))["source"][len("local:///"):]
    name = stack.uploaded(b, secret)["source"][len("local:///"):]
    assert stack.get(image_path("local:///" + name), b).status == 200
    values = {"a": a.user.id, "b": b.user.id, "own": own, "name": name,
              "image": stack.image_servers[0].address.rpartition(":")[2]}
    return a, values, secret


def assert_refused(stack, tenants, path):
    key, _, secret = tenants
    answer = stack.get(path, key)
    assert answer.status in (400, 403, 404), (path, answer)
    assert secret[64:] not in answer.body and not (answer.header("Content-Type") or "").startswith("image/"), path


@pytest.mark.parametrize("pattern", SOURCES)
def test_no_way_to_another_tenants_file(stack, tenants, pattern):
    source = pattern.format(**tenants[1])
    for prefix in PREFIXES:
        for ext in ("", "@png"):
            assert_refused(stack, tenants, f"/img/unsafe/{prefix}plain/{source}{ext}")
    assert_refused(stack, tenants, f"/img/unsafe/plain/{source}?/plain/local:///{tenants[1]['own']}")


@pytest.mark.parametrize("pattern", SOURCES)
def test_no_encoded_way_either(stack, tenants, pattern):
    raw = pattern.format(**tenants[1]).encode()
    text = base64.urlsafe_b64encode(raw).decode()
    chunks = "/".join(text[i:i + 5] for i in range(0, len(text), 5))
    for encoded in (text, text.rstrip("="), text.rstrip("=") + ".png", chunks, "//" + chunks + ".png"):
        assert_refused(stack, tenants, f"/img/unsafe/rs:fit:50:0/{encoded}")
        assert_refused(stack, tenants, f"/img/unsafe/{encoded}")


@pytest.mark.parametrize("path", [
    "/img/unsafe/raw:1/plain/local:///{b}/{name}@/../{own}", "/img/unsafe/../../{b}/{name}", "/img/../{b}/{name}",
    "/img/unsafe/rs:fit:50:0/fn:eCINClNldC1Db29raWU6IGE9Yg:1/plain/local:///{b}/{name}@png",
    "/img/unsafe/w:50/plain/local:///{b}/{name}/plain/local:///{own}", "/img/unsafe/plain/local:///{own}/plain/local:///{b}/{name}",
    "/img/unsafe/plain/local:///{own}@png/plain/local:///{b}/{name}", "/img/unsafe/plain//local:///{b}/{name}",
    "/img/unsafe/w:1/plain%2Flocal:///{b}/{name}", "/img/unsafe/insecure/plain/local:///{b}/{name}",
])
def test_no_odd_way_either(stack, tenants, path):
    assert_refused(stack, tenants, path.format(**tenants[1]))


def test_the_image_servers_are_closed_to_who_has_no_signature(stack, tenants):
    """What keeps a tenant out when the agent signs nothing for them."""
    _, values, _ = tenants
    for signature in ("insecure", "unsafe", "A" * 43):
        path = f"/{signature}/plain/local:///{values['b']}/{values['name']}"
        answer = helpers_http.send_raw(stack.image_servers[0].address, helpers_http.build("GET", path))
        assert answer.status == 403, answer
