"""A small SPOP client: what HAProxy would send, and much that it would not. Written from doc/SPOE.txt of HAProxy."""

import http.client
import struct
import uuid

from helpers_http import connect

HAPROXY_HELLO, HAPROXY_DISCONNECT, NOTIFY = 1, 2, 3
AGENT_HELLO, AGENT_DISCONNECT, ACK = 101, 102, 103
FIN = 1
SCOPES = {0: "proc", 1: "sess", 2: "txn", 3: "req", 4: "res"}


def varint(number):
    if number < 240:
        return bytes([number])
    out = [(number & 15) | 240]
    number = (number - 240) >> 4
    while number >= 128:
        out.append((number & 127) | 128)
        number = (number - 128) >> 7
    return bytes([*out, number])


def string(text):
    data = text if isinstance(text, bytes) else text.encode()
    return varint(len(data)) + data


def value(thing):
    """None, True, int, str or bytes as typed data."""
    if thing is None:
        return b"\x00"
    if isinstance(thing, bool):
        return b"\x11" if thing else b"\x01"
    if isinstance(thing, int):
        return b"\x04" + varint(thing & (1 << 64) - 1)
    return (b"\x09" if isinstance(thing, bytes) else b"\x08") + string(thing)


def pairs(things):
    return b"".join(string(name) + (thing if isinstance(thing, Raw) else value(thing)) for name, thing in things.items())


class Raw(bytes):
    """Bytes that go out as they are, where a value is expected."""


def frame(kind, payload=b"", stream=0, number=0, flags=FIN):
    body = bytes([kind]) + struct.pack(">I", flags) + varint(stream) + varint(number) + payload
    return struct.pack(">I", len(body)) + body


def hello(**change):
    """HAProxy's hello; a name with None is left out, '-' in names is written '_'."""
    things = {"supported-versions": "2.0", "max-frame-size": Raw(b"\x03" + varint(16380)),
              "capabilities": "pipelining,async"}
    for name, thing in change.items():
        things[name.replace("_", "-")] = thing
    return frame(HAPROXY_HELLO, pairs({name: thing for name, thing in things.items() if thing is not None}))


def message(name="check", **args):
    return string(name) + bytes([len(args)]) + pairs(args)


def check(stream, number, path="/img/unsafe/plain/local:///a.jpg", key=None, method="GET", v=1, **more):
    """The question that haproxy/spoe.conf asks; about a new request unless `id` is given."""
    args = {"v": v, "id": str(uuid.uuid4()), "ip": Raw(b"\x06\x7f\x00\x00\x01"), "method": method, "path": path,
            "query": None, "key": key, "auth": None, "length": 0, "tls": False, **more}
    return frame(NOTIFY, message(**args), stream, number)


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        assert self.at + count <= len(self.data), "the payload ends too early"
        piece = self.data[self.at:self.at + count]
        self.at += count
        return piece

    def byte(self):
        return self.take(1)[0]

    def varint(self):
        first = self.byte()
        number, shift = first, 4
        if first >= 240:
            while True:
                byte = self.byte()
                number += byte << shift
                shift += 7
                if byte < 128:
                    break
        return number

    def string(self):
        return self.take(self.varint())

    def value(self):
        head = self.byte()
        kind = head & 15
        if kind == 0:
            return None
        if kind == 1:
            return bool(head & 16)
        if kind in (2, 3, 4, 5):
            return self.varint()
        if kind in (6, 7):
            return self.take(4 if kind == 6 else 16)
        assert kind in (8, 9), f"type {kind}"
        data = self.string()
        return data.decode() if kind == 8 else data

    def done(self):
        return self.at == len(self.data)


class Frame:
    def __init__(self, body):
        reader = Reader(body)
        self.kind = reader.byte()
        self.flags = struct.unpack(">I", reader.take(4))[0]
        self.stream, self.number = reader.varint(), reader.varint()
        self.payload = body[reader.at:]

    def pairs(self):
        reader, found = Reader(self.payload), {}
        while not reader.done():
            name = reader.string().decode()
            assert name not in found, f"{name} came twice"
            found[name] = reader.value()
        return found

    def variables(self):
        """The actions of an ACK: variables by (scope, name)."""
        reader, found = Reader(self.payload), {}
        while not reader.done():
            action, count = reader.byte(), reader.byte()
            assert (action, count) == (1, 3), "set-var has three arguments"
            scope, name = SCOPES[reader.byte()], reader.string().decode()
            found[scope, name] = reader.value()
        return found

    def txn(self):
        found = self.variables()
        assert {scope for scope, _ in found} == {"txn"}
        return {name: thing for (_, name), thing in found.items()}

    def code(self):
        """`allow`, which has no code of its own, or the code of a refusal."""
        found = self.txn()
        return "allow" if found.get("verdict") == "allow" else found["code"]


class Client:
    """A connection to a verdict worker."""

    def __init__(self, address, say_hello=True, timeout=10):
        self.sock = connect(address, timeout)
        if say_hello:
            self.send(hello())
            self.agreed = self.read()
            assert self.agreed.kind == AGENT_HELLO, self.agreed.pairs()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def send(self, *frames):
        try:
            self.sock.sendall(b"".join(frames))
        except (BrokenPipeError, ConnectionResetError):
            pass  # it was refused already; the answer can still be read

    def _exactly(self, count):
        data = b""
        while len(data) < count:
            piece = self.sock.recv(count - len(data))
            if not piece:
                raise http.client.IncompleteRead(data, count - len(data))
            data += piece
        return data

    def read(self):
        return Frame(self._exactly(struct.unpack(">I", self._exactly(4))[0]))

    def read_all(self):
        """The frames until the agent closes."""
        frames = []
        try:
            while True:
                frames.append(self.read())
        except http.client.IncompleteRead as end:
            assert not end.partial, "the connection ended within a frame"
            return frames

    def ask(self, key, path, stream=1, number=1, **more):
        """The variables of one verdict."""
        self.send(check(stream, number, path, key, **more))
        answer = self.read()
        assert (answer.kind, answer.stream, answer.number) == (ACK, stream, number)
        return answer.txn()

    def ended(self):
        """Whether the agent closes now, with nothing more to say."""
        try:
            return self.sock.recv(1) == b""
        except ConnectionResetError:
            return True

    def status_of_end(self):
        """Reads the DISCONNECT that must come next and the end; its status."""
        last = self.read()
        assert last.kind == AGENT_DISCONNECT and (last.stream, last.number) == (0, 0) and last.flags == FIN
        found = last.pairs()
        assert sorted(found) == ["message", "status-code"] and found["message"], found
        assert self.ended()
        return found["status-code"]


def healthcheck(address, timeout=1.0):
    """Whether a worker answers a health check's hello."""
    try:
        with Client(address, say_hello=False, timeout=timeout) as client:
            client.send(hello(capabilities="", healthcheck=True))
            return client.read().kind == AGENT_HELLO
    except (OSError, http.client.IncompleteRead):
        return False
