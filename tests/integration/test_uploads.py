"""Uploads: what is taken, what lies on the disk afterwards, and what is refused."""

import concurrent.futures
import hashlib
import os
import re
import stat

import pytest
from PIL import Image

import helpers_http as http
import helpers_images as images
from helpers import image_path, wait_until
from helpers_http import check_problem

UPLOAD = "/api/v1/upload"


@pytest.fixture
def tenant(stack):
    """A new user with a key for everything but admin."""
    return stack.make_key()


@pytest.mark.parametrize("form", [True, False], ids=["multipart", "raw"])
def test_a_photograph(stack, tenant, photo, form):
    answer = stack.uploaded(tenant, photo, form=form)
    assert sorted(answer) == ["bytes", "content_type", "height", "id", "sha256", "source", "url", "width"]
    assert re.fullmatch("[0-9a-f]{32}", answer["id"])
    assert answer["source"] == f"local:///{answer['id']}.jpg"
    assert answer["url"] == f"/img/unsafe/plain/{answer['source']}"
    assert answer["bytes"] == len(photo)
    assert answer["sha256"] == hashlib.sha256(photo).hexdigest()
    assert (answer["width"], answer["height"]) == images.decode(photo).size
    assert answer["content_type"] == "image/jpeg"
    assert stack.files_of(tenant.user) == [answer["id"] + ".jpg"]
    assert stack.stored(tenant.user, answer["source"]) == photo


def test_others_on_the_machine_cannot_read_the_files(stack, tenant, small_jpeg):
    name = stack.uploaded(tenant, small_jpeg)["source"][len("local:///"):]
    folder = os.path.join(stack.settings["UPLOADS_DIR"], str(tenant.user.id))
    for path in (folder, os.path.join(folder, name)):
        assert stat.S_IMODE(os.stat(path).st_mode) & 0o007 == 0, path


def made(kind):
    picture = images.gradient(50, 40)
    return images.encode(picture.convert("P") if kind == "GIF" else picture, kind)


@pytest.mark.parametrize("form", [True, False], ids=["multipart", "raw"])
@pytest.mark.parametrize("data, ext, size", [
    (made("JPEG"), "jpg", (50, 40)), (made("PNG"), "png", (50, 40)), (made("GIF"), "gif", (50, 40)),
    (made("WEBP"), "webp", (50, 40)),
    *[(images.data_file(name), ext, None) for name, ext in (
        ("plain.avif", "avif"), ("alpha.avif", "avif"), ("lossless.webp", "webp"), ("alpha.webp", "webp"),
        ("progressive.jpg", "jpg"), ("exif.jpg", "jpg"))],
], ids=lambda value: str(value)[:12] if not isinstance(value, bytes) else "")
def test_content_decides_not_the_name(stack, tenant, data, ext, size, form):
    answer = stack.uploaded(tenant, data, filename="../../etc/passwd.txt", content_type="text/html", form=form)
    assert answer["source"].endswith("." + ext)
    assert answer["content_type"] == {"jpg": "image/jpeg"}.get(ext, "image/" + ext)
    if size:
        assert (answer["width"], answer["height"]) == size
    assert answer["width"] > 0 and answer["height"] > 0
    assert stack.stored(tenant.user, answer["source"]) == data


def test_an_avif_comes_back_as_png(stack, tenant):
    answer = stack.uploaded(tenant, images.data_file("plain.avif"))
    got = stack.get(image_path(answer["source"], "", "png"), tenant)
    assert got.status == 200, got
    assert images.decode(got.body).size == (answer["width"], answer["height"])


@pytest.mark.parametrize("form", [True, False], ids=["multipart", "raw"])
@pytest.mark.parametrize("data", [
    b"hello", b"x", b"\x00" * 4096, b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"<?xml version='1.0'?><svg/>",
    b"<!DOCTYPE html><script>alert(1)</script>", b"%PDF-1.7\n", b"PK\x03\x04" + b"\x00" * 40, b"#!/bin/sh\n",
    b"II*\x00\x08\x00\x00\x00", b"BM" + b"\x00" * 60, b"\xff\xd8\xff", b"\xff\xd8\xff\xe0\x00\x10JFIF", b"\x89PNG\r\n\x1a\n",
    b"GIF89a", b"RIFF\x00\x00\x00\x00WEBP", b"RIFF\x10\x00\x00\x00WAVEfmt ", b"\x00\x00\x00\x18ftypmp42" + b"\x00" * 8,
    made("PNG")[:20], made("WEBP")[:20], made("GIF")[:8], images.data_file("plain.avif")[:60], b" " + made("PNG"),
], ids=repr)
def test_other_content_is_refused_and_leaves_nothing(stack, owner, data, form):
    before = stack.files_of(owner.user)
    check_problem(stack.upload(owner, data, "photo.jpg", "image/jpeg", form=form), 415, "type_unsupported")
    assert stack.settled_files_of(owner.user) == before


def test_an_image_without_area_is_refused(stack, owner):
    empty = bytearray(made("GIF"))
    empty[6:8] = b"\0\0"
    check_problem(stack.upload(owner, bytes(empty)), 415, "type_unsupported")


def test_nothing_at_all(stack, owner):
    check_problem(stack.upload(owner, b"", form=False), 400, "bad_request")
    check_problem(stack.upload(owner, b""), 400, "bad_request")


@pytest.mark.parametrize("body", [
    b"", b"--bo\r\n", b"--bo--\r\n", b"nonsense", b"--bo\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nabc",
    b"--other\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nabc\r\n--other--\r\n",
])
def test_broken_forms(stack, owner, body):
    before = stack.files_of(owner.user)
    answer = stack.request("POST", UPLOAD, owner, [("Content-Type", "multipart/form-data; boundary=bo")], body)
    check_problem(answer, 400, "bad_request")
    assert stack.settled_files_of(owner.user) == before


def test_a_form_cut_within_the_file_leaves_nothing(stack, owner, small_jpeg):
    before = stack.files_of(owner.user)
    kind, body = http.multipart(small_jpeg)
    cut = body[:-len(small_jpeg) // 2]
    check_problem(stack.request("POST", UPLOAD, owner, [("Content-Type", kind)], cut), 400, "bad_request")
    assert stack.settled_files_of(owner.user) == before


def test_a_form_without_a_boundary(stack, owner, small_jpeg):
    for kind in ("multipart/form-data", "multipart/form-data; boundary="):
        answer = stack.request("POST", UPLOAD, owner, [("Content-Type", kind)], http.multipart(small_jpeg)[1])
        check_problem(answer, 400, "bad_request")


def test_fields_of_a_form(stack, owner, small_jpeg):
    def send(body, kind):
        return stack.request("POST", UPLOAD, owner, [("Content-Type", kind)], body)

    kind, body = http.multipart(small_jpeg, extra=[("caption", "on the beach"), ("user", "1")])
    assert send(body, kind).status == 200
    kind, body = http.multipart(small_jpeg, field="picture")
    check_problem(send(body, kind), 400, "bad_request")
    kind, body = http.multipart(small_jpeg)
    twice = body.replace(b"--\r\n", b"\r\n") + body
    check_problem(send(twice, kind), 400, "bad_request")


def test_expect_continue(stack, owner, small_jpeg):
    head = http.build("POST", UPLOAD, [("X-API-Key", owner.key), ("Content-Type", "image/jpeg"),
                                       ("Expect", "100-continue"), ("Content-Length", str(len(small_jpeg)))])
    with http.connect(stack.address) as sock:
        sock.sendall(head)
        assert sock.recv(64).startswith(b"HTTP/1.1 100 ")
        sock.sendall(small_jpeg)
        assert http.read_answer(sock).status == 200
    with http.connect(stack.address) as sock:
        sock.sendall(head.replace(b"X-API-Key", b"X-Other"))
        check_problem(http.read_answer(sock), 401, "key_missing")


@pytest.mark.parametrize("form", [True, False], ids=["multipart", "raw"])
def test_an_aborted_upload_leaves_no_file(stack, tenant, photo, form):
    kind, body = http.multipart(photo) if form else ("image/jpeg", photo)
    data = http.build("POST", UPLOAD, [("X-API-Key", tenant.key), ("Content-Type", kind)], body)
    with http.connect(stack.address) as sock:
        sock.sendall(data[:-1000])
        wait_until(lambda: stack.files_of(tenant.user), what="the unfinished file")
        assert all(name.startswith(".part-") for name in stack.files_of(tenant.user))
        # Nobody sees it while it is unfinished, under any name.
        name = stack.files_of(tenant.user)[0]
        for text in (name, name[len(".part-"):], name[len(".part-"):] + ".jpg"):
            assert stack.get(image_path("local:///" + text), tenant).status in (403, 404)
    wait_until(lambda: stack.files_of(tenant.user) == [], what="it is removed")


def test_fifty_at_once(stack, tenant):
    pictures = [images.encode(Image.effect_noise((400, 300), 10 + number), "PNG") for number in range(50)]
    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda picture: stack.upload(tenant, picture), pictures))
    assert {answer.status for answer in answers} == {200}, answers
    for picture, answer in zip(pictures, answers):
        assert stack.stored(tenant.user, answer.json()["source"]) == picture
    assert len(stack.files_of(tenant.user)) == 50
    assert len({answer.json()["id"] for answer in answers}) == 50


# ---- gateway-api asked past HAProxy ---------------------------------------------------------------------------------

def direct(stack, headers, path=UPLOAD, method="POST", body=b"x"):
    return http.send_raw(stack.settings["API_BIND"], http.build(method, path, headers, body))


def test_the_api_trusts_only_the_proxy(stack, owner, small_jpeg):
    token = ("X-GW-Token", stack.settings["API_TOKEN"])
    user, scopes = ("X-GW-User", str(owner.user.id)), ("X-GW-Scopes", "read,upload")
    before = stack.files_of(owner.user)
    for headers in ([], [user, scopes], [token], [token, scopes], [user, scopes, ("X-GW-Token", "")],
                    [user, scopes, ("X-GW-Token", token[1][:-1])], [user, scopes, ("X-GW-Token", token[1] + "0")],
                    [token, scopes, ("X-GW-User", "0")], [token, scopes, ("X-GW-User", "../1")],
                    [token, scopes, ("X-GW-User", "-1")], [("X-API-Key", owner.key)]):
        answer = direct(stack, headers, body=small_jpeg)
        assert answer.status == 403 and answer.json()["code"] == "ip_not_allowed", (headers, answer)
    for wrong in ("", "read", "read,admin", "uploads", "up load"):
        answer = direct(stack, [token, user, ("X-GW-Scopes", wrong)], body=small_jpeg)
        assert answer.status == 403 and answer.json()["code"] == "scope_missing", (wrong, answer)
    assert stack.settled_files_of(owner.user) == before
    assert direct(stack, [token, user, scopes], body=small_jpeg).status == 200
    assert direct(stack, [], "/healthz", "GET", None).status == 200


# ---- a stack with a small limit, whose API is lost --------------------------------------------------------------------

LIMIT = 200_000


@pytest.fixture(scope="module")
def small(module_stack):
    return module_stack({"UPLOADS_MAX_SIZE": str(LIMIT)})


def padded(size):
    picture = made("JPEG")
    return picture + b"\0" * (size - len(picture))


@pytest.mark.parametrize("form", [True, False], ids=["multipart", "raw"])
def test_the_largest_upload(small, form):
    assert small.uploaded(small.api_key, padded(LIMIT), form=form)["bytes"] == LIMIT
    # Within what HAProxy lets pass, and far beyond it.
    for size in (LIMIT + 1, LIMIT + 1_000_000):
        check_problem(small.upload(small.api_key, padded(size), form=form), 413, "too_large")
    assert not [name for name in small.files_of(small.demo.saved["demo"]["id"]) if name.startswith(".")]


def test_an_api_that_is_gone(small, small_jpeg):
    small["api"].stop()
    check_problem(small.upload(small.api_key, small_jpeg), 503, "unavailable")
    small.wait_server("be_api", "api", up=False)
    check_problem(small.upload(small.api_key, small_jpeg, form=False), 503, "unavailable")
    # Images do not need it.
    assert small.get(small.demo.sample_path, small.api_key).status == 200
    small["api"].start()
    small["api"].wait_ready()
    small.wait_server("be_api", "api")
    small.uploaded(small.api_key, small_jpeg)
