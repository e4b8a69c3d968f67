"""A SPOP client that speaks to a verdict worker without HAProxy: hello, questions, answers."""

import socket
import struct

from gwstack import probe

HAPROXY_HELLO, HAPROXY_DISCONNECT, NOTIFY = 1, 2, 3
AGENT_HELLO, AGENT_DISCONNECT, ACK = 101, 102, 103
FIN = 1


def varint(number):
    if number < 240:
        return bytes([number])
    out = [(number & 0xFF) | 0xF0]
    number = (number - 240) >> 4
    while number >= 128:
        out.append((number & 0xFF) | 0x80)
        number = (number - 128) >> 7
    return bytes([*out, number])


def text(value):
    data = value.encode() if isinstance(value, str) else value
    return varint(len(data)) + data


def typed(value):
    if value is None:
        return b"\x00"
    if isinstance(value, bool):
        return b"\x11" if value else b"\x01"
    if isinstance(value, int):
        return b"\x04" + varint(value)
    if isinstance(value, tuple):  # IPv4
        return b"\x06" + bytes(value)
    return b"\x08" + text(value)


def frame(kind, stream_id, frame_id, payload):
    body = struct.pack(">BI", kind, FIN) + varint(stream_id) + varint(frame_id) + payload
    return struct.pack(">I", len(body)) + body


def hello(healthcheck=False, max_size=16380):
    payload = (text("supported-versions") + typed("2.0") + text("max-frame-size") + b"\x03" + varint(max_size)
               + text("capabilities") + typed("pipelining"))
    if healthcheck:
        payload += text("healthcheck") + typed(True)
    return frame(HAPROXY_HELLO, 0, 0, payload)


def notify(stream_id, frame_id, key, path, method="GET"):
    args = {"v": 1, "id": f"{stream_id}-{frame_id}", "ip": (127, 0, 0, 1), "method": method, "path": path, "query": "",
            "key": key, "auth": None, "length": 0, "tls": False}
    payload = text("check") + bytes([len(args)]) + b"".join(text(k) + typed(v) for k, v in args.items())
    return frame(NOTIFY, stream_id, frame_id, payload)


class Cursor:
    def __init__(self, data):
        self.data, self.at = data, 0

    def more(self):
        return self.at < len(self.data)

    def take(self, count):
        piece = self.data[self.at:self.at + count]
        assert len(piece) == count, "a frame ends within a value"
        self.at += count
        return piece

    def byte(self):
        return self.take(1)[0]

    def varint(self):
        number = self.byte()
        if number < 240:
            return number
        shift = 4
        while True:
            byte = self.byte()
            number += byte << shift
            shift += 7
            if byte < 128:
                return number

    def text(self):
        return self.take(self.varint()).decode()

    def typed(self):
        tag = self.byte()
        kind = tag & 0x0F
        if kind == 0:
            return None
        if kind == 1:
            return bool(tag & 0x10)
        if kind in (2, 3, 4, 5):
            return self.varint()
        assert kind == 8, f"type {kind} in an answer"
        return self.text()


class Frame:
    def __init__(self, body):
        cursor = Cursor(body)
        self.kind, self.flags = struct.unpack(">BI", cursor.take(5))
        self.stream_id, self.frame_id = cursor.varint(), cursor.varint()
        self.payload = body[cursor.at:]

    @property
    def values(self):
        """Of a hello or a disconnect."""
        cursor, found = Cursor(self.payload), {}
        while cursor.more():
            name = cursor.text()
            found[name] = cursor.typed()
        return found

    @property
    def variables(self):
        """Of an ACK: what it sets."""
        cursor, found = Cursor(self.payload), {}
        while cursor.more():
            action, count = cursor.byte(), cursor.byte()
            assert (action, count) == (1, 3), "only set-var is expected"
            cursor.byte()
            name = cursor.text()
            found[name] = cursor.typed()
        return found

    def __repr__(self):
        return f"<frame {self.kind} {self.stream_id}/{self.frame_id} {self.payload[:80]!r}>"


class Client:
    """One connection; said hello when it is made."""

    def __init__(self, address, healthcheck=False, timeout=10.0):
        host, where = probe.split_address(address)
        if host is None:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(timeout)
            self.sock.connect(where)
        else:
            self.sock = socket.create_connection((host, where), timeout)
        self.buffer = b""
        self.sock.sendall(hello(healthcheck))
        self.hello = self.read()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data)

    def read(self):
        """The next frame; None at the end."""
        while len(self.buffer) < 4 or len(self.buffer) < 4 + struct.unpack(">I", self.buffer[:4])[0]:
            piece = self.sock.recv(65536)
            if not piece:
                assert not self.buffer, "the connection ended within a frame"
                return None
            self.buffer += piece
        size = 4 + struct.unpack(">I", self.buffer[:4])[0]
        body, self.buffer = self.buffer[4:size], self.buffer[size:]
        return Frame(body)

    def ask(self, key, path, stream_id=1, frame_id=1):
        """The variables of one verdict."""
        self.send(notify(stream_id, frame_id, key, path))
        answer = self.read()
        assert answer is not None and answer.kind == ACK, answer
        assert (answer.stream_id, answer.frame_id) == (stream_id, frame_id), answer
        return answer.variables


def healthcheck(address, timeout=1.0):
    """Whether a worker answers a health check's hello."""
    try:
        with Client(address, healthcheck=True, timeout=timeout) as client:
            return client.hello is not None and client.hello.kind == AGENT_HELLO
    except OSError:
        return False
