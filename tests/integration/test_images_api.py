"""The images of a tenant: one file for one content, pages, deleting, and the storage limit."""

import concurrent.futures
import datetime
import os
import random
import re
import threading

import pytest

import helpers_api as api
import helpers_http as http
import helpers_images as images
from helpers import image_path, wait_until
from helpers_http import check_problem

IMAGES = api.IMAGES
WRONG_IDS = [
    "..", ".", "%2e%2e", "..%2f..%2fetc%2fpasswd", "../1/{id}", "{id}/", "{id}/..", "{id}.jpg", "{id}%00", "%2e/{id}",
    "{id}%2ejpg", "{id}?", "0" * 31, "0" * 33, "g" * 32, "{ID}", "{enc}", "%", "%zz", ".part-{id}", "*", "{id},{id}",
    "{id};a=b", "\\{id}", "{id}%20",
]


@pytest.fixture
def tenant(stack):
    return stack.make_key()


def picture(number):
    return images.encode(images.gradient(20 + number % 50, 30), "PNG") + number.to_bytes(4, "big")


# ---- through the gateway ---------------------------------------------------------------------------------------------


def test_the_same_bytes_twice_are_one_file(stack, tenant, small_jpeg):
    first, second = (stack.uploaded(tenant, small_jpeg, form=form) for form in (True, False))
    assert first == second
    assert stack.files_of(tenant.user) == [first["source"][len("local:///"):]]
    other = stack.make_key()
    theirs = stack.uploaded(other, small_jpeg)
    assert theirs["sha256"] == first["sha256"] and theirs["id"] != first["id"]
    # The one's id is nothing for the other.
    check_problem(stack.get(f"{IMAGES}/{first['id']}", other), 404, "not_found")
    check_problem(stack.request("DELETE", f"{IMAGES}/{first['id']}", other), 404, "not_found")
    assert stack.get(image_path(first["source"]), other).status == 404
    assert stack.get(image_path(first["source"]), tenant).status == 200


def test_the_same_bytes_at_the_same_moment(stack, tenant, photo):
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: stack.upload(tenant, photo), range(12)))
    assert {answer.status for answer in answers} == {200}, answers
    assert len({answer.body for answer in answers}) == 1
    assert len(stack.files_of(tenant.user)) == 1
    assert stack.stored(tenant.user, answers[0].json()["source"]) == photo


def test_one_image(stack, tenant, small_jpeg):
    made = stack.uploaded(tenant, small_jpeg)
    answer = stack.get(f"{IMAGES}/{made['id']}", tenant)
    assert answer.status == 200 and answer.header("Content-Type") == "application/json", answer
    assert answer.header("Cache-Control") == "no-store"
    one = answer.json()
    created = datetime.datetime.strptime(one.pop("created_at"), "%Y-%m-%dT%H:%M:%SZ")
    assert abs((datetime.datetime.utcnow() - created).total_seconds()) < 60
    assert one == {name: value for name, value in made.items() if name != "sha256"}
    assert stack.request("HEAD", f"{IMAGES}/{made['id']}", tenant).status == 200
    page = stack.get(IMAGES, tenant).json()
    assert page["next"] is None and [entry["id"] for entry in page["images"]] == [made["id"]]
    gone = stack.request("DELETE", f"{IMAGES}/{made['id']}", tenant)
    assert gone.status == 204 and gone.body == b"" and gone.header("X-Request-ID"), gone
    assert stack.files_of(tenant.user) == []
    check_problem(stack.request("DELETE", f"{IMAGES}/{made['id']}", tenant), 404, "not_found")
    check_problem(stack.get(f"{IMAGES}/{made['id']}", tenant), 404, "not_found")
    assert stack.get(image_path(made["source"]), tenant).status == 404


def test_scopes(stack, tenant, small_jpeg):
    made = stack.uploaded(tenant, small_jpeg)
    reader = stack.make_key(tenant.user, scopes="read")
    writer = stack.make_key(tenant.user, scopes="upload")
    assert stack.get(IMAGES, reader).status == 200
    assert stack.get(f"{IMAGES}/{made['id']}", reader).status == 200
    check_problem(stack.request("DELETE", f"{IMAGES}/{made['id']}", reader), 403, "scope_missing")
    check_problem(stack.get(IMAGES, writer), 403, "scope_missing")
    assert stack.request("DELETE", f"{IMAGES}/{made['id']}", writer).status == 204


def test_ids_that_are_none(stack, tenant, small_jpeg):
    made = stack.uploaded(tenant, small_jpeg)
    other = stack.make_key()
    theirs = stack.uploaded(other, small_jpeg)
    id_ = made["id"]
    tries = [text.format(id=id_, ID=id_.upper() if id_.upper() != id_ else "A" * 32, enc="%" + format(ord(id_[0]), "x") + id_[1:])
             for text in WRONG_IDS]
    tries += [theirs["id"], f"../{other.user.id}/{theirs['id']}", f"..%2f{other.user.id}%2f{theirs['id']}"]
    for text in tries:
        for method in ("GET", "DELETE"):
            if text == id_ + "?":
                continue  # an empty query: the id itself
            answer = stack.request(method, f"{IMAGES}/{text}", tenant)
            assert answer.status in (400, 404), (method, text, answer)
            if answer.status == 404:
                check_problem(answer, 404, "not_found")
    assert stack.files_of(tenant.user) == [made["source"][len("local:///"):]]
    assert stack.files_of(other.user) == [theirs["source"][len("local:///"):]]


def test_methods_and_arguments(stack, tenant):
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        check_problem(stack.request(method, IMAGES, tenant, body=b""), 405, "method_not_allowed")
    for method in ("POST", "PUT", "PATCH"):
        check_problem(stack.request(method, f"{IMAGES}/{'0' * 32}", tenant, body=b""), 405, "method_not_allowed")
    for query in ("limit=0", "limit=1001", "limit=-1", "limit=1e2", "limit=%31", "limit=", "after=x", "after=../..",
                  "after=" + "0" * 33, "limit=18446744073709551617"):
        answer = stack.get(f"{IMAGES}?{query}", tenant)
        if query == "limit=%31":
            assert answer.status == 200
        else:
            check_problem(answer, 400, "bad_request")
    for query in ("limit=1", "limit=1000", "after=" + "f" * 32, "x=y", ""):
        assert stack.get(f"{IMAGES}?{query}", tenant).json() == {"images": [], "next": None}


def test_the_storage_limit_of_a_user(stack, tenant, photo):
    """From gatewayctl to the answer: 5 MB hold one photograph, and no other."""
    assert len(photo) < 5 << 20 < 2 * len(photo)
    stack.done("quota", "set", tenant.user.name, "--storage-mb", "5")
    stack.settle()
    made = stack.uploaded(tenant, photo)
    problem = check_problem(stack.upload(tenant, photo[:-1] + b"z"), 507, "quota_storage")
    assert f"{api.whole(len(photo))} of {5 << 20} bytes" in problem["detail"], problem
    assert stack.request("DELETE", f"{IMAGES}/{made['id']}", tenant).status == 204
    stack.uploaded(tenant, photo[:-1] + b"z", form=False)
    # A limit that is taken away.
    stack.done("quota", "set", tenant.user.name, "--storage-mb", "0")
    stack.settle()
    stack.uploaded(tenant, photo)


# ---- gateway-api alone -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bare(module_stack):
    return api.start_api(module_stack)


@pytest.fixture
def user(bare, _numbers=iter(range(1000, 100000))):
    return next(_numbers)


def test_pages_under_change(bare, user):
    """Images that are there all the time come exactly once, in order, whatever is uploaded and deleted meanwhile."""
    stay = {api.upload(bare, user, picture(number)).json()["id"] for number in range(40)}
    stop, chance = threading.Event(), random.Random(5)

    def disturb():
        number = 1000
        while not stop.is_set():
            number += 1
            made = api.upload(bare, user, picture(number)).json()["id"]
            if chance.random() < 0.7:
                assert api.ask(bare, "DELETE", f"{IMAGES}/{made}", user).status == 204

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        for limit in (1, 3, 7, 100):
            for _ in range(3):
                ids = [entry["id"] for entry in api.all_images(bare, user, limit)]
                assert ids == sorted(set(ids))
                assert stay <= set(ids)
    finally:
        stop.set()
        thread.join()


def test_what_others_put_there(bare, user, tmp_path):
    api.upload(bare, user, picture(1))
    folder = api.folder_of(bare, user)
    secret = tmp_path / "secret.gif"
    secret.write_bytes(b"GIF89a" + b"\1\0\1\0" + b"\0" * 20)
    os.symlink(secret, os.path.join(folder, "0" * 32 + ".gif"))
    os.mkdir(os.path.join(folder, "1" * 32 + ".gif"))
    os.mkfifo(os.path.join(folder, "2" * 32 + ".gif"))
    with open(os.path.join(folder, "cat.gif"), "wb") as file:
        file.write(b"x" * 1000)
    assert len(api.all_images(bare, user)) == 1
    for digit in "012":
        for method in ("GET", "DELETE"):
            assert api.ask(bare, method, f"{IMAGES}/{digit * 32}", user).status == 404
    assert secret.exists() and len(os.listdir(folder)) == 5


def test_a_folder_that_is_a_link(bare, user):
    theirs = api.upload(bare, user, picture(1)).json()
    os.symlink(str(user), api.folder_of(bare, user + 500_000))
    for method, target, body in (("GET", IMAGES, None), ("GET", f"{IMAGES}/{theirs['id']}", None),
                                 ("DELETE", f"{IMAGES}/{theirs['id']}", None), ("POST", api.UPLOAD, picture(2))):
        answer = api.ask(bare, method, target, user + 500_000, body)
        assert answer.status == 503 and answer.code == "unavailable", (method, target, answer)
    assert len(api.all_images(bare, user)) == 1


# ---- the storage limit -------------------------------------------------------------------------------------------------


def refused(answer):
    assert answer.status == 507 and answer.code == "quota_storage", answer
    return re.search(r"(\d+) of (\d+) bytes are used", answer.json()["detail"]).groups()


def test_the_storage_limit(bare, user):
    data = picture(1)
    limit = 3 * api.whole(len(data))
    assert refused(api.upload(bare, user, bytes(limit + 1), limit=limit)) == ("0", str(limit))
    made = [api.upload(bare, user, data[:-1] + bytes([number]), form=number == 1, limit=limit) for number in range(3)]
    assert [answer.status for answer in made] == [200] * 3
    assert refused(api.upload(bare, user, b"x", limit=limit)) == (str(limit), str(limit))
    assert refused(api.upload(bare, user, b"x", limit=limit, form=True)) == (str(limit), str(limit))
    assert api.ask(bare, "DELETE", f"{IMAGES}/{made[0].json()['id']}", user).status == 204
    api.room(bare, user, limit)
    # Nothing that fails costs anything.
    for body in (b"no image", data[:20]):
        assert api.upload(bare, user, body, limit=limit).status == 415
        assert api.upload(bare, user, body, limit=limit, form=True).status == 415
    for _ in range(3):
        assert api.upload(bare, user, data[:-1] + b"\1", limit=limit).json() == made[1].json()
    api.room(bare, user, limit)
    # Another user's storage is another's, and no limit is none.
    assert api.upload(bare, user + 500_000, data, limit=limit).status == 200
    assert api.upload(bare, user, data * 10).status == 200
    assert api.upload(bare, user, data * 20, limit=0).status == 200
    refused(api.upload(bare, user, b"x", limit=limit))


def test_tiny_files_count_whole_blocks(bare, user):
    """A limit is not to be got around with millions of tiny files: 36 bytes count as the 4096 that they take."""
    def tiny(number):
        return b"GIF89a\1\0\1\0\0\0\0,\0\0\0\0\1\0\1\0\0\2\2D\1\0;" + number.to_bytes(2, "big")

    limit = 10 * 4096 + 4095
    assert [api.upload(bare, user, tiny(number), limit=limit).status for number in range(11)] == [200] * 10 + [507]
    assert refused(api.upload(bare, user, tiny(11), limit=limit)) == ("40960", str(limit))
    # Counted from the folder it is the same.
    bare["api"].stop()
    bare["api"].start()
    bare["api"].wait_ready()
    assert refused(api.upload(bare, user, tiny(11), limit=limit)) == ("40960", str(limit))
    one = api.all_images(bare, user)[0]
    assert api.ask(bare, "DELETE", f"{IMAGES}/{one['id']}", user).status == 204
    assert api.upload(bare, user, tiny(11), limit=limit).status == 200


def test_parallel_uploads_do_not_pass_the_limit_together(bare, user):
    size = 200_000
    limit = 7 * api.whole(size) + size // 2

    def one(number):
        data = picture(number)
        return api.upload(bare, user, data + bytes(size - len(data)), form=number % 2 == 1, limit=limit).status

    with concurrent.futures.ThreadPoolExecutor(30) as pool:
        statuses = list(pool.map(one, range(30)))
    assert set(statuses) == {200, 507}, statuses
    assert api.used(bare, user) <= limit
    # A refusal is final for its own request, so some room may be left: but it is there, to the block.
    while api.used(bare, user) + size <= limit:
        assert one(len(statuses) + api.used(bare, user)) == 200
    assert api.used(bare, user) == 7 * api.whole(size)
    api.room(bare, user, limit)


def test_uploads_that_end_early_give_back_what_they_reserved(bare, user):
    limit = 1_000_000
    head = http.build(*api.head_of(bare, "POST", api.UPLOAD, user, [("Content-Length", "600000")], limit))
    for sent in (0, 1, 100_000, 599_999):
        with http.connect(bare.settings["API_BIND"]) as sock:
            sock.sendall(head + bytes(sent))
            if sent > 1:
                wait_until(lambda: api.upload(bare, user, bytes(600_000), limit=limit).status == 507, what="it is reserved")
                assert refused(api.upload(bare, user, bytes(600_000), limit=limit))[0] == str(api.whole(600_000))
        wait_until(lambda: api.upload(bare, user, bytes(600_000), limit=limit).status == 415, what="the room is back")
    api.room(bare, user, limit)


def test_files_that_an_operator_removes(bare, user):
    data = picture(1)
    limit = api.whole(len(data))
    made = api.upload(bare, user, data, limit=limit).json()
    refused(api.upload(bare, user, data[:-1] + b"z", limit=limit))
    os.unlink(os.path.join(api.folder_of(bare, user), made["source"][len("local:///"):]))
    # Counted anew before a refusal, but not all the time.
    wait_until(lambda: api.upload(bare, user, data[:-1] + b"z", limit=limit).status == 200, 15.0, "a new count")
