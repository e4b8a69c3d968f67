"""Signed URLs: an <img> tag without any header, and what the signature covers."""

import re
import time

import pytest

import helpers_images as images
from helpers import wait_until
from helpers_http import check_problem
from helpers_records import row_of_answer
from helpers_signed import base64_source, make_signer, signature, signed


@pytest.fixture(scope="module")
def signer(stack):
    return make_signer(stack)


@pytest.fixture(scope="module")
def photo_of(stack, signer, photo):
    return stack.uploaded(signer, photo)["source"]


def size(answer):
    assert answer.status == 200, answer
    return images.decode(answer.body).size


def test_without_a_header(stack, signer, photo_of):
    for source in (f"plain/{photo_of}", base64_source(photo_of), f"plain/{photo_of}@png", base64_source(photo_of) + ".png"):
        assert size(stack.get(signed(signer, f"/rs:fill:60:40/{source}"))) == (60, 40)
    assert stack.get(signed(signer, f"/{base64_source(photo_of)}")).status == 200


def test_head(stack, signer, photo_of):
    answer = stack.request("HEAD", signed(signer, f"/w:50/plain/{photo_of}"))
    assert answer.status == 200 and answer.body == b""


def test_headers_do_not_matter(stack, signer, owner, photo_of):
    path = signed(signer, f"/rs:fill:61:40/plain/{photo_of}")
    for headers in ([("X-API-Key", "igw_x")], [("Authorization", "Bearer x")], [("X-API-Key", owner.key)]):
        answer = stack.get(path, headers=headers)
        assert size(answer) == (61, 40)
        assert row_of_answer(stack, answer)["api_key_id"] == signer.id


def test_what_arrives_in_another_spelling(stack, signer, photo_of):
    """imgproxy signs the path as it was before proxies and browsers changed it."""
    name = photo_of.removeprefix("local:///")
    for path, of in ((f"/rs%3Afill%3A30%3A20/plain/local:///{name}", f"/rs:fill:30:20/plain/local:///{name}"),
                     (f"/rs:fill:30:20/plain/local:/{name}", f"/rs:fill:30:20/plain/local:///{name}"),
                     (f"//rs:fill:30:20/plain/local:///{name}", f"/rs:fill:30:20/plain/local:///{name}")):
        assert size(stack.get(signed(signer, path, of))) == (30, 20), path
    answer = stack.get(signed(signer, f"/rs:fill:30:20/plain/{photo_of}") + "?v=1&x=y")
    assert size(answer) == (30, 20)


def test_one_character_changed(stack, signer, photo_of):
    path = signed(signer, f"/w:50/plain/{photo_of}")
    head = len(f"/signed/{signer.id}/")
    for at in list(range(head, head + 43)) + list(range(head + 44, len(path))):
        letter = "B" if path[at] == "A" else "A"
        check_problem(stack.get(path[:at] + letter + path[at + 1:]), 403, "signature_invalid")


@pytest.mark.parametrize("spoil", [
    lambda s: s + "=", lambda s: s[:-1], lambda s: s + "A", lambda s: s[:10], lambda s: "", lambda s: "insecure",
    lambda s: "unsafe", lambda s: s.lower(), lambda s: s + "%0A", lambda s: s.replace(s[5], "%" + format(ord(s[5]), "02X"), 1),
    lambda s: s[:-1] + "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".index(s[-1]) | 1],
])
def test_a_signature_has_one_spelling(stack, signer, photo_of, spoil):
    path = f"/w:51/plain/{photo_of}"
    good = signature(signer, path)
    bad = spoil(good)
    assert bad != good
    answer = stack.get(f"/signed/{signer.id}/{bad}{path}")
    check_problem(answer, 403, "signature_invalid")
    assert good not in answer.body.decode()


def test_nobody_is_told_which_keys_there_are(stack, signer, owner, photo_of):
    """Another tenant's signature, a key without a signing key, an id that is none: one answer."""
    other = make_signer(stack)
    path = f"/w:52/plain/{photo_of}"
    answers = [stack.get(f"/signed/{key}/{signature(signer, path)}{path}")
               for key in (other.id, owner.id, 999999999, 0, "x", "18446744073709551616", f"0{signer.id}", "")]
    for answer in answers:
        check_problem(answer, 403, "signature_invalid")
    assert len({re.sub(r'"request_id":"[^"]*"', "", answer.body.decode()) for answer in answers}) == 1


def test_a_tenant_signs_only_what_is_theirs(stack, signer, photo_of):
    """The name in the URL is relative to whose key it is."""
    other = make_signer(stack)
    path = f"/rs:fill:20:20/plain/{photo_of}"
    assert stack.get(signed(signer, path)).status == 200
    check_problem(stack.get(signed(other, path)), 404, "not_found")
    for source in (f"local:///../{signer.user.id}/{photo_of.removeprefix('local:///')}", "local:///..", "file:///etc/passwd",
                   f"local:///{signer.user.id}/..//{photo_of.removeprefix('local:///')}"):
        check_problem(stack.get(signed(other, f"/w:10/{base64_source(source)}")), 403, "source_forbidden")


def test_options(stack, signer, photo_of):
    for option in ("raw:1", "msr:1", "foo:1", "wmu:aaaa", "pr:x", "w:5000", "dpr:9", "enc:1"):
        answer = stack.get(signed(signer, f"/{option}/plain/{photo_of}"))
        check_problem(answer, 403, "option_forbidden")
        assert option.partition(":")[0] in answer.json()["detail"], answer
    answer = stack.get(signed(signer, f"/w:abc/plain/{photo_of}"))
    check_problem(answer, 400, "url_invalid")


def test_expires(stack, signer, photo_of):
    now = int(time.time())
    assert size(stack.get(signed(signer, f"/w:40/exp:{now + 60}/plain/{photo_of}")))[0] == 40
    assert stack.get(signed(signer, f"/w:40/exp:0/plain/{photo_of}")).status == 200
    answer = stack.get(signed(signer, f"/w:40/exp:{now - 1}/plain/{photo_of}"))
    check_problem(answer, 404, "not_found")
    assert "over" in answer.json()["detail"]


def test_the_answer_is_private_unless_the_operator_says_otherwise(stack, signer, photo_of):
    answer = stack.get(signed(signer, f"/w:41/plain/{photo_of}"))
    assert "private" in answer.header("Cache-Control") and "public" not in answer.header("Cache-Control")
    assert "x-api-key" not in (answer.header("Vary") or "").lower()


def test_a_cdn_may_keep_it(fresh_stack, photo):
    stack = fresh_stack({"IMAGES_PUBLIC_SIGNED": "true"})
    signer = make_signer(stack)
    source = stack.uploaded(signer, photo)["source"]
    assert "public" in stack.get(signed(signer, f"/w:41/plain/{source}")).header("Cache-Control")
    assert "private" in stack.get(f"/img/unsafe/w:41/plain/{source}", signer).header("Cache-Control")


def test_usage_names_the_key_and_hides_the_signature(stack, signer, photo_of):
    path = f"/w:42/plain/{photo_of}"
    good, bad = stack.get(signed(signer, path)), stack.get(signed(signer, f"/raw:1/plain/{photo_of}"))
    row = row_of_answer(stack, good)
    assert (row["user_id"], row["api_key_id"], row["code"], row["billed_bytes"]) == \
        (signer.user.id, signer.id, "allow", len(good.body))
    assert row["request_path"] == f"/signed/{signer.id}/*{path}"
    assert row_of_answer(stack, bad)["code"] == "option_forbidden"
    assert signature(signer, path) not in "".join(stack.logs().values())


def test_a_failure_is_logged_without_the_signature(fresh_stack, photo):
    stack = fresh_stack()
    signer = make_signer(stack)
    path = f"/w:42/plain/{stack.uploaded(signer, photo)['source']}"
    for server in stack.image_servers:
        server.stop()
    stack.wait_server("be_imgproxy", "img1", up=False)
    stack.wait_server("be_imgproxy", "img2", up=False)
    check_problem(stack.get(signed(signer, path)), 503, "unavailable")
    # HAProxy writes the line when the answer has left.
    wait_until(lambda: f"path=/signed/{signer.id}/*{path} " in stack.logs()["haproxy.log"], what="the line of the failure")
    assert signature(signer, path) not in stack.logs()["haproxy.log"]


def test_limits_and_quotas_apply(stack, photo):
    signer = make_signer(stack)
    path = signed(signer, f"/w:43/plain/{stack.uploaded(signer, photo)['source']}")
    stack.done("quota", "set", str(signer.user.id), "--requests", "3")
    stack.settle()
    codes = [stack.get(path).code for _ in range(4)]
    assert codes == [None, None, "quota_requests", "quota_requests"], codes  # the upload was one


@pytest.mark.parametrize("how, code", [("revoke", "key_revoked"), ("disable", "user_inactive"), ("expire", "key_expired")])
def test_what_ends_it(stack, photo, how, code):
    signer = make_signer(stack, None, *(["--expires", "2s"] if how == "expire" else []))
    path = signed(signer, f"/w:44/plain/{stack.uploaded(signer, photo)['source']}")
    assert stack.get(path).status == 200
    if how == "revoke":
        stack.done("key", "revoke", str(signer.id))
    elif how == "disable":
        stack.done("user", "disable", str(signer.user.id))
    wait_until(lambda: stack.get(path).code == code, 5, code)
    # A wrong signature is not told so.
    check_problem(stack.get(path[:-1] + "x"), 403, "signature_invalid")


def test_a_rotated_key(stack, photo):
    signer = make_signer(stack)
    source = stack.uploaded(signer, photo)["source"]
    path = f"/w:45/plain/{source}"
    told = stack.done("key", "rotate", signer.id)
    stack.settle()
    fresh = signer._replace(id=told["id"], key=told["key"], signing_key=told["signing_key"],
                            signing_salt=told["signing_salt"])
    assert fresh.signing_key != signer.signing_key
    assert stack.get(signed(fresh, path)).status == 200
    check_problem(stack.get(signed(fresh._replace(id=signer.id), path)), 403, "signature_invalid")


def test_addresses_apply(stack, photo):
    signer = make_signer(stack)
    path = signed(signer, f"/w:46/plain/{stack.uploaded(signer, photo)['source']}")
    stack.done("allow", "add", str(signer.user.id), "203.0.113.0/24")
    wait_until(lambda: stack.get(path).code == "ip_not_allowed", 5, "the list")
