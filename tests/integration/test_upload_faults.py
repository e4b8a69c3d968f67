"""Uploads that go wrong: a killed API, a full disk, bodies that are too short, too long or too strange, and very many at
once. gateway-api alone, asked as HAProxy asks it."""

import contextlib
import os
import random
import re
import select
import shutil
import subprocess
import tempfile
import threading
import time

import pytest

import helpers_api as api
import helpers_http as http
import helpers_images as images
from helpers import wait_until

MB = 1 << 20
RSS_MOST = 64 * MB


@pytest.fixture(scope="module")
def bare(module_stack):
    return api.start_api(module_stack, {"UPLOADS_MAX_SIZE": "30MB"})


@pytest.fixture
def user(bare, _numbers=iter(range(1000, 100000))):
    return next(_numbers)


def files(stack, user):
    folder = api.folder_of(stack, user)
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []


def padded(number, size):
    head = images.encode(images.gradient(40, 30), "JPEG") + number.to_bytes(8, "big")
    return head + bytes(size - len(head))


def restart(stack):
    stack["api"].kill()
    stack["api"].start()
    stack["api"].wait_ready()


# ---- killed ------------------------------------------------------------------------------------------------------------


class Uploader(threading.Thread):
    """One upload after the other until told to stop; knows which were answered with 200."""

    def __init__(self, stack, user, first, limit):
        super().__init__(daemon=True)
        self.stack, self.user, self.limit, self.next, self.done = stack, user, limit, first, {}
        self.stop, self.failure = threading.Event(), None

    def run(self):
        chance = random.Random(self.next)
        while not self.stop.is_set():
            data = padded(self.next, chance.choice((2000, 100_000, 3_000_000)))
            self.next += 1
            try:
                answer = api.upload(self.stack, self.user, data, form=chance.random() < 0.5, limit=self.limit)
            except (OSError, ConnectionError, AssertionError):
                time.sleep(0.01)  # it is dead, or died meanwhile
                continue
            if answer.status != 200:
                self.failure = answer
                return
            self.done[answer.json()["id"]] = data


def test_killed_at_any_moment(bare, user):
    """What was answered is there, whole; nothing else is but whole images; nothing is left over, and no room is lost."""
    limit = 2_000_000_000
    uploaders = [Uploader(bare, user, number * 1_000_000, limit) for number in range(4)]
    chance = random.Random(7)
    for uploader in uploaders:
        uploader.start()
    for _ in range(12):
        time.sleep(chance.uniform(0.02, 0.5))
        restart(bare)
    for uploader in uploaders:
        uploader.stop.set()
    for uploader in uploaders:
        uploader.join(30)
        assert uploader.failure is None
    restart(bare)
    wait_until(lambda: not [name for name in files(bare, user) if name.startswith(".part-")], what="no leftovers")
    done = {id_: data for uploader in uploaders for id_, data in uploader.done.items()}
    assert len(done) > 20
    listed = {entry["id"]: entry for entry in api.all_images(bare, user, 1000)}
    assert set(done) <= set(listed)
    assert sorted(id_ + ".jpg" for id_ in listed) == files(bare, user)
    for id_, entry in listed.items():
        with open(os.path.join(api.folder_of(bare, user), id_ + ".jpg"), "rb") as file:
            data = file.read()
        # The size of every upload is one of three: no half of one has it.
        assert len(data) == entry["bytes"] and len(data) in (2000, 100_000, 3_000_000)
        assert id_ not in done or data == done[id_]
        # Sent again, it is the same image, also when its answer was lost.
    for id_ in list(listed)[:10]:
        with open(os.path.join(api.folder_of(bare, user), id_ + ".jpg"), "rb") as file:
            assert api.upload(bare, user, file.read(), limit=limit).json()["id"] == id_
    api.room(bare, user, api.used(bare, user) + 1000)


def test_leftovers_go_at_the_start(bare, user):
    """Also young ones; those of uploads that another process still receives stay."""
    data = padded(1, 1_000_000)
    head = http.build(*api.head_of(bare, "POST", api.UPLOAD, user, [("Content-Length", str(len(data)))], 3_000_000))
    with http.connect(bare.settings["API_BIND"]) as sock:
        sock.sendall(head + data[:500_000])
        wait_until(lambda: files(bare, user), what="the temporary file")
        assert [name[:6] for name in files(bare, user)] == [".part-"]
        bare["api"].kill()
    assert len(files(bare, user)) == 1
    folder = api.folder_of(bare, user)
    held = os.path.join(folder, ".part-" + "0" * 32)
    other = subprocess.Popen(["/usr/bin/flock", "--exclusive", held, "/usr/bin/sleep", "60"])
    try:
        wait_until(lambda: subprocess.run(["/usr/bin/flock", "-n", held, "true"], check=False).returncode != 0)
        os.chown(held, os.stat(folder).st_uid, os.stat(folder).st_gid)
        bare["api"].start()
        bare["api"].wait_ready()
        wait_until(lambda: files(bare, user) == [os.path.basename(held)], what="the leftover is gone, the other is not")
    finally:
        other.terminate()
        other.wait()
        subprocess.run(["/usr/bin/pkill", "-P", str(other.pid)], check=False)
    # Temporary files are no part of the storage.
    os.unlink(held)
    assert api.upload(bare, user, padded(2, 2_999_999), limit=api.whole(2_999_999)).status == 200


# ---- bodies ------------------------------------------------------------------------------------------------------------


def test_bodies_of_the_wrong_length(bare, user, small_jpeg):
    kind, form = http.multipart(small_jpeg)
    limit = 10_000_000
    for headers, body in (([], small_jpeg), ([("Content-Type", kind)], form)):
        # Longer than was told: what is too much is no part of the file.
        head = http.build(*api.head_of(bare, "POST", api.UPLOAD, user, [*headers, ("Content-Length", str(len(body)))], limit))
        assert http.send_raw(bare.settings["API_BIND"], head + body + b"garbage" * 100).status == 200
        # Shorter, and the client ends.
        head = head.replace(b"Content-Length: %d" % len(body), b"Content-Length: %d" % (len(body) + 5))
        with http.connect(bare.settings["API_BIND"]) as sock:
            sock.sendall(head + body)
            sock.shutdown(1)
            with contextlib.suppress(OSError, ConnectionError):
                assert http.read_answer(sock).status != 200
    wait_until(lambda: len(files(bare, user)) == 1, what="one image, and no temporary file")
    api.room(bare, user, limit)


def test_a_slow_client(bare, user, small_jpeg):
    """A byte at a time, with others beside it."""
    head = http.build(*api.head_of(bare, "POST", api.UPLOAD, user, [("Content-Length", str(len(small_jpeg)))]))
    with http.connect(bare.settings["API_BIND"]) as sock:
        for at in range(0, len(head)):
            sock.sendall(head[at:at + 1])
        for at in range(0, len(small_jpeg)):
            sock.sendall(small_jpeg[at:at + 1])
            if at % 100 == 0:
                assert api.upload(bare, user, padded(at, 5000)).status == 200
        assert http.read_answer(sock).status == 200


PART = b'--bo\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
END = b"\r\n--bo--\r\n"


def strange_forms(small):
    other = PART.replace(b'"file"', b'"other"')
    yield "no part", b"--bo--\r\n", "bo", 400
    yield "no file", other + small + END, "bo", 400
    yield "two files", PART + small + b"\r\n" + PART + small + END, "bo", 400
    yield "no end", PART + small, "bo", 400
    yield "half an end", PART + small + b"\r\n--bo", "bo", 400
    yield "a line in the file that begins as the boundary", PART + small + b"\r\n--bob" + small + END, "bo", 400
    yield "boundary in the file without line end", PART + small + b"--bo" + END, "bo", 200
    yield "a long boundary", (PART + small + END).replace(b"--bo", b"--" + b"b" * 70), "b" * 70, 200
    yield "quoted boundary", PART + small + END, '"bo"', 200
    yield "more behind the boundary", PART + small + END, "bo; charset=UTF-8", 200
    yield "more behind a quoted one", PART + small + END, '"bo" ;charset=UTF-8', 200
    yield "more behind the wrong one", PART + small + END, "b;o", 400
    yield "empty boundary", PART + small + END, '""', 400
    yield "huge part header", PART.replace(b"\r\n\r\n", b"\r\nX-Long: " + b"a" * 200_000 + b"\r\n\r\n") + small + END, "bo", 400
    yield "huge name", PART.replace(b"file", b"f" * 100_000) + small + END, "bo", 400
    yield "huge boundary", PART + small + END, "b" * 60_000, 400
    yield "a preamble", b"hello\r\n" + PART + small + END, "bo", 200
    yield "an epilogue", PART + small + END + b"bye", "bo", 400
    yield "only line feeds", (PART + small + END).replace(b"\r\n", b"\n"), "bo", 400
    yield "nothing", b"", "bo", 400
    yield "an empty file", PART + END, "bo", 400
    yield "a path for a name", PART.replace(b"a.jpg", b"../../../etc/cron.d/x") + small + END, "bo", 200
    yield "fields around it", other + b"x\r\n" + PART + small + b"\r\n" + other + b"y" + END, "bo", 200
    yield "parts without end", b"--bo\r\n" * 50_000, "bo", 400


def test_strange_forms(bare, user, small_jpeg):
    small = small_jpeg
    limit = 10_000_000
    for what, body, boundary, status in strange_forms(small):
        kind = f"multipart/form-data; boundary={boundary}"
        answer = api.ask(bare, "POST", api.UPLOAD, user, body, headers=[("Content-Type", kind)], limit=limit)
        assert answer.status == status, (what, answer)
        if status != 200:
            assert answer.code == "bad_request", (what, answer)
    assert not [name for name in files(bare, user) if name.startswith(".")]
    api.room(bare, user, limit)


def test_forms_cut_anywhere(bare, user, small_jpeg):
    """And split into two pieces there."""
    body = PART + small_jpeg + END
    headers = [("Content-Type", "multipart/form-data; boundary=bo"), ("Content-Length", str(len(body)))]
    head = http.build(*api.head_of(bare, "POST", api.UPLOAD, user, headers, 10_000_000))
    chance = random.Random(3)
    cuts = [*range(len(PART) + 10), *chance.sample(range(len(body)), 30), *range(len(body) - 15, len(body))]
    for at in cuts:
        with http.connect(bare.settings["API_BIND"]) as sock:
            sock.sendall(head + body[:at])
            if chance.random() < 0.5:
                time.sleep(0.001)
                sock.sendall(body[at:])
                assert http.read_answer(sock).status == 200
    wait_until(lambda: len(files(bare, user)) == 1, what="no temporary file")
    api.room(bare, user, 10_000_000)


def test_expect_with_a_refusal(bare, user):
    for more, status in (([("Content-Length", str(40 * MB))], 413), ([("Content-Length", "1000001")], 507)):
        head = http.build(*api.head_of(bare, "POST", api.UPLOAD, user, [("Expect", "100-continue"), *more], 1_000_000))
        with http.connect(bare.settings["API_BIND"]) as sock:
            sock.sendall(head)
            assert select.select([sock], [], [], 10)[0]
            assert sock.recv(12) == b"HTTP/1.1 %d" % status


# ---- a disk that is full -------------------------------------------------------------------------------------------------


@pytest.fixture
def open_folder():
    """Others may pass through it, unlike pytest's own."""
    path = tempfile.mkdtemp(prefix="igw-test-full-")
    os.chmod(path, 0o755)
    yield path
    shutil.rmtree(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_a_full_disk(module_stack, open_folder):
    """507 would be the user's fault: this is 503, and when there is room again all is well."""
    place = os.path.join(open_folder, "uploads")
    os.mkdir(place)
    stack = module_stack({"UPLOADS_DIR": place}, start=False)
    account = stack.layout.account
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size=4m,mode=0750,uid={account.uid},gid={account.gid}",
                              "tmpfs", place], capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"no tmpfs can be mounted: {mounted.stderr}")
    try:
        stack.prepare()
        stack.start_parts("api")
        limit = 100 * MB
        first = api.upload(stack, 7, padded(1, 2 * MB), limit=limit)
        assert first.status == 200
        for form in (False, True):
            answer = api.upload(stack, 7, padded(2, 3 * MB), form=form, limit=limit)
            assert answer.status == 503 and answer.code == "unavailable", answer
            assert "room" in answer.json()["detail"] and answer.header("Retry-After"), answer
        assert len(files(stack, 7)) == 1
        assert api.ask(stack, "DELETE", f"{api.IMAGES}/{first.json()['id']}", 7).status == 204
        assert api.upload(stack, 7, padded(2, 3 * MB), limit=limit).status == 200
        assert len(files(stack, 7)) == 1
        api.room(stack, 7, 3 * MB + 1000)
        stack["api"].stop()
    finally:
        subprocess.run(["umount", "-l", place], check=True)


# ---- very many at once ---------------------------------------------------------------------------------------------------


def peak(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return int(re.search(r"VmHWM:\s+(\d+) kB", file.read())[1]) * 1024


@pytest.mark.serial
@pytest.mark.parametrize("form", [True, False], ids=["multipart", "raw"])
def test_memory_with_a_hundred_at_once(fresh_stack, form):
    """All of them are under way until each but for its last byte is there."""
    stack = api.start_api(fresh_stack)
    count, size, user = 100, 20 * MB, 9
    piece = bytes(MB // 4)
    kind, around = http.multipart(b"@@@") if form else ("image/jpeg", b"@@@")
    before, after = around.split(b"@@@")
    with contextlib.ExitStack() as socks:
        waiting = []
        for number in range(count):
            start = before + padded(number, 4096)
            end = b"\0" + after
            length = len(start) + size - 4096 - 1 + len(end)
            sock = socks.enter_context(http.connect(stack.settings["API_BIND"], 120))
            sock.sendall(http.build(*api.head_of(stack, "POST", api.UPLOAD, user, [
                ("Content-Type", kind), ("Content-Length", str(length))], 10_000 * MB)) + start)
            waiting.append([sock, size - 4096 - 1, end])
        while any(left for _, left, _ in waiting):
            for one in waiting:
                if one[1]:
                    one[0].sendall(piece[:min(len(piece), one[1])])
                    one[1] -= min(len(piece), one[1])
        wait_until(lambda: api.used(stack, user) >= count * (size - MB // 2), 120, "all bytes are there")
        assert len(files(stack, user)) == count
        for sock, _, end in waiting:
            sock.sendall(end)
        answers = [http.read_answer(sock) for sock, _, _ in waiting]
    assert {answer.status for answer in answers} == {200}
    assert {answer.json()["bytes"] for answer in answers} == {size}
    most = peak(stack["api"].pid)
    print(f"\npeak of gateway-api with {count} uploads of {size // MB} MB at once: {most / MB:.1f} MiB")
    assert most <= RSS_MOST, f"{most / MB:.1f} MiB"
