"""The image servers of a stack: theirs is the last word on what is not the gateway's, and nothing else reaches them."""

import os

import pytest

import helpers_http as http
import helpers_images as images
from helpers_http import check_problem
from helpers_standin import Standin, b64, signature


@pytest.fixture(scope="module")
def servers(stack):
    """(address, pid) of each."""
    return [(server.address, stack[server.name].pid) for server in stack.image_servers]


@pytest.fixture(scope="module")
def source(stack, source, owner):
    """A file as an image server is asked for it."""
    return f"local:///{owner.user.id}/{source[len('local:///'):]}"


def ask(address, path, headers=()):
    return http.send_raw(address, http.build("GET", path, headers))


def signed(stack, path):
    key, salt = (bytes.fromhex(stack.settings[name]) for name in ("IMGPROXY_KEY", "IMGPROXY_SALT"))
    return f"/{signature(path, key, salt)}{path}"


def test_they_serve_what_the_gateway_signs(stack, servers, source):
    for address, _ in servers:
        answer = ask(address, signed(stack, f"/w:8/{b64(source)}.png"))
        assert answer.status == 200 and images.decode(answer.body).size[0] == 8, answer


def test_they_refuse_what_it_did_not_sign(stack, servers, source):
    path = f"/w:8/{b64(source)}.png"
    good = signed(stack, path)
    key, salt = (bytes.fromhex(stack.settings[name]) for name in ("IMGPROXY_KEY", "IMGPROXY_SALT"))
    others = [signature(path, salt, key), signature(path, key, b""), signature(path, b"", salt),
              signature(path, b"", b""),
              signature(path[1:], key, salt), signature("/w:9" + path[4:], key, salt), signature(path, key, salt)[:-1]]
    others += ["insecure", "unsafe", "_", "-", "A" * 43, stack.settings["IMGPROXY_KEY"]]
    for address, _ in servers:
        for text in [f"/{other}{path}" for other in others] + [good.replace("/w:8/", "/w:9/"),
                                                               good.replace(".png", ".jpg"),
                                                                good.replace(".png", ""), good + "/",
                                                                f"/img/unsafe{path}"]:
            answer = ask(address, text, [("X-API-Key", stack.api_key), ("Authorization", f"Bearer {stack.api_key}")])
            assert (answer.status, answer.body) == (403, b"Forbidden"), (text, answer)
        for at in range(1, 44):
            flipped = good[:at] + ("A" if good[at] != "A" else "B") + good[at + 1:]
            if at < 43:  # the last character has two bits that say nothing
                assert ask(address, flipped).status == 403, flipped


def test_they_have_a_key_and_bounds(servers):
    for _, pid in servers:
        with open(f"/proc/{pid}/environ", encoding="utf-8") as file:
            values = dict(line.partition("=")[::2] for line in file.read().split("\0") if line)
        assert len(values["IMGPROXY_KEY"]) == len(values["IMGPROXY_SALT"]) == 64
        assert values["IMGPROXY_KEY"] != values["IMGPROXY_SALT"]
        for kind in ("LOOPBACK", "LINK_LOCAL", "PRIVATE"):
            assert values[f"IMGPROXY_ALLOW_{kind}_SOURCE_ADDRESSES"] == "false"
        assert values["IMGPROXY_MAX_REDIRECTS"] == "0" and values["IMGPROXY_ALLOW_SECURITY_OPTIONS"] == "false"
        assert 0 < int(values["IMGPROXY_MAX_RESULT_DIMENSION"]) <= 8192
        assert 0 < float(values["IMGPROXY_MAX_SRC_RESOLUTION"]) <= 50 and int(values["IMGPROXY_MAX_SRC_FILE_SIZE"]) > 0


def listening(pid):
    """(family, address in hex, port) of the process's listening TCP sockets."""
    inodes = set()
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            link = os.readlink(f"/proc/{pid}/fd/{name}")
        except OSError:
            continue
        if link.startswith("socket:["):
            inodes.add(link[len("socket:["):-1])
    found = []
    for family in ("tcp", "tcp6"):
        with open(f"/proc/{pid}/net/{family}", encoding="utf-8") as file:
            for line in file.readlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and fields[9] in inodes:
                    address, _, port = fields[1].partition(":")
                    found.append((family, address, int(port, 16)))
    return found


def test_they_listen_on_loopback_alone(servers):
    for address, pid in servers:
        assert listening(pid) == [("tcp", "0100007F", int(address.rpartition(":")[2]))]


def test_they_fetch_nothing_from_this_machine(stack, servers):
    port = stack.settings["SERVER_PORT"]
    for address, _ in servers:
        for host in ("127.0.0.1", "localhost", "[::1]", "0.0.0.0", "[::ffff:127.0.0.1]", "169.254.169.254"):
            answer = ask(address, signed(stack, f"/{b64(f'http://{host}:{port}/healthz')}.png"))
            assert (answer.status, answer.body) == (404, b"Source is unreachable"), (host, answer)


def test_a_result_is_bounded(stack, servers, source):
    for address, _ in servers:
        answer = ask(address, signed(stack, f"/rs:force:20000:20:1/{b64(source)}.png"))
        assert answer.status == 200 and images.decode(answer.body).size == (8192, 8), answer
        assert ask(address, signed(stack, f"/mrd:0/{b64(source)}")).status == 403


def most_memory(pid):
    """MB that the process has had at most."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1024


def test_no_giants_on_the_way(stack, owner):
    """A crop that is enlarged until its short side fits, turned, and only then cut: the gateway asks for none."""
    picture = images.encode(images.gradient(400, 400), "PNG")
    asked = "c:25:400/rs:fill:1:1024:1/rot:90"
    server = Standin(MAX_RESULT_DIMENSION=4096)
    try:
        server.write("x.png", picture)
        before = most_memory(server.process.pid)
        answer = server.ask(f"/{asked}/{b64('local:///x.png')}.png")
        assert answer.status == 200 and images.decode(answer.body).size == (1, 1024), answer
        # 1024 x 16,384 pixels of three bytes for 1024 that are left
        assert most_memory(server.process.pid) - before > 40
    finally:
        server.close()
    source = stack.uploaded(owner, picture)["source"]
    assert stack.get(f"/img/unsafe/{asked}/plain/{source}", owner).status == 200
    for options, name in (("c:100:4000/rs:fill:4096:1:1/rot:90", "rs"), ("w:10/mw:4096/rot:90", "mw"),
                          ("t:5/rt:fill/el:1/w:100/h:100", "t"), ("rs:force:1:4096/mh:1", "mh")):
        problem = check_problem(stack.get(f"/img/unsafe/{options}/plain/{source}", owner), 403, "option_forbidden")
        assert problem["detail"].startswith(f"The option {name} "), problem
    for options in ("rs:fill:300:300", "rs:fill:1200:630:1", "rs:fit:1000:0:1", "mw:500/mh:500", "rs:fill:300:300/dpr:2/rot:90"):
        assert stack.get(f"/img/unsafe/{options}/plain/{source}", owner).status == 200, options
