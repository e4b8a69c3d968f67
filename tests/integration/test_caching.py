"""What may keep an answer, and for whom: the headers of tenants' images, and HAProxy's own cache."""

import os
import time

import pytest
from PIL import Image

import helpers_images as images
from helpers import image_path, wait_until
from helpers_records import check_sums, row_of_answer, wait_shipped


@pytest.fixture(scope="module")
def cached(module_stack):
    return module_stack({"IMAGES_CACHE_MB": "16", "IMAGES_CACHE_MAX_OBJECT": "4MB", "IMAGES_CACHE_MAX_AGE": "2s"})


def words(answer, name):
    return {word.strip().lower() for word in (answer.header(name) or "").split(",")}


def hits(stack):
    """How many answers HAProxy had itself; -1 without a cache."""
    return int(stack.server_stat("be_imgproxy", "BACKEND")["cache_hits"] or -1)


def hit(stack, path, key, headers=(), method="GET"):
    """An answer, with the attribute `hit`. No Age tells a tenant that somebody has asked before."""
    before = hits(stack)
    answer = stack.request(method, path, key, headers)
    answer.hit = hits(stack) > before
    assert answer.header("Age") is None, answer
    return answer


@pytest.mark.parametrize("more", ([], ["If-None-Match"]))
def test_the_image_of_a_key_is_private(stack, owner, source, more):
    """A browser keeps it, what is shared does not, and nobody gives it to another key."""
    path = image_path(source)
    etag = stack.get(path, owner).header("ETag")
    answer = stack.get(path, owner, [(name, etag) for name in more])
    assert answer.status == (304 if more else 200)
    assert "private" in words(answer, "Cache-Control") and "public" not in words(answer, "Cache-Control")
    assert any(word.startswith("max-age=") for word in words(answer, "Cache-Control"))
    assert {"x-api-key", "authorization"} <= words(answer, "Vary")
    assert answer.header("ETag") == etag


def test_a_refusal_is_not_kept(stack, owner, source):
    for answer in (stack.get(image_path(source)), stack.get(image_path(source, "w:x"), owner),
                   stack.get(image_path("local:///gone.jpg"), owner)):
        assert answer.status >= 400 and words(answer, "Cache-Control") == {"no-store"}, answer


def test_without_the_setting_nothing_is_kept(stack, owner, source):
    assert not any(hit(stack, image_path(source), owner).hit for _ in range(3))


def test_the_query_changes_nothing(cached, small_jpeg):
    key = cached.make_key()
    path = image_path(cached.uploaded(key, small_jpeg)["source"], "rs:fill:20:10")
    first = hit(cached, path, key)
    again = hit(cached, path + "?v=2&x=/../etc", key)
    assert again.hit and not first.hit and again.body == first.body


def test_a_hit_is_like_the_first_answer(cached, small_jpeg):
    key = cached.make_key()
    cached.done("limit", "set", str(key.user.id), "--per-minute", "1000")
    cached.settle()
    path = image_path(cached.uploaded(key, small_jpeg)["source"], "rs:fill:40:30")
    answers = [hit(cached, path, key) for _ in range(3)]
    assert [one.hit for one in answers] == [False, True, True]
    for name in ("Cache-Control", "Vary", "ETag", "Content-Type", "Content-Length"):
        assert len({one.header(name) for one in answers}) == 1, name
    assert len({one.header("X-Request-ID") for one in answers}) == 3
    left = [int(one.header("X-RateLimit-Remaining")) for one in answers]
    assert left[0] > left[1] > left[2] and len({one.body for one in answers}) == 1
    small = cached.get(path, key, [("If-None-Match", answers[0].header("ETag"))])
    assert (small.status, small.body) == (304, b"")


def test_a_hit_is_counted_and_billed(cached, small_jpeg):
    key = cached.make_key()
    path = image_path(cached.uploaded(key, small_jpeg)["source"], "rs:fill:41:30")
    answers = [hit(cached, path, key) for _ in range(3)]
    answers.append(hit(cached, path, key, method="HEAD"))
    answers.append(hit(cached, path, key, [("If-None-Match", answers[0].header("ETag"))]))
    size = len(answers[0].body)
    wait_shipped(cached)
    rows = [row_of_answer(cached, one) for one in answers]
    assert [one.hit for one in answers[1:]] == [True] * 4
    assert [row["billed_bytes"] for row in rows] == [size, size, size, 0, 0]
    assert [row["response_status"] for row in rows] == [200, 200, 200, 200, 304]
    assert {row["code"] for row in rows} == {"allow"} and {row["backend"] for row in rows} == {"be_imgproxy"}
    check_sums(cached, key.user)


def test_tenants_do_not_share(cached):
    """The same path of two users names two files."""
    keys = [cached.make_key() for _ in range(2)]
    colours = [(200, 10, 10), (10, 10, 200)]
    for key, colour in zip(keys, colours):
        made = cached.uploaded(key, images.encode(Image.new("RGB", (20, 20), colour), "PNG"))
        folder = os.path.join(cached.settings["UPLOADS_DIR"], str(key.user.id))
        os.link(os.path.join(folder, made["source"].rpartition("/")[2]), os.path.join(folder, "same.png"))
    for _ in range(2):
        for key, colour in zip(keys, colours):
            answer = cached.get(image_path("local:///same.png", "rs:fill:10:10", "png"), key)
            assert images.decode(answer.body).convert("RGB").getpixel((5, 5)) == colour


def test_the_verdict_comes_first(cached, small_jpeg):
    """Whoever has lost the right does not get what is kept."""
    key = cached.make_key()
    path = image_path(cached.uploaded(key, small_jpeg)["source"], "rs:fill:42:30")
    cached.get(path, key)
    assert hit(cached, path, key).hit
    cached.done("key", "revoke", str(key.id))
    wait_until(lambda: cached.get(path, key).code == "key_revoked", 5, "the revocation")
    assert cached.get(path).code == "key_missing"


def test_an_answer_becomes_old(cached, small_jpeg):
    key = cached.make_key()
    path = image_path(cached.uploaded(key, small_jpeg)["source"], "rs:fill:43:30")
    cached.get(path, key)
    assert hit(cached, path, key).hit
    time.sleep(2.2)
    assert not hit(cached, path, key).hit
