"""A receiver of HAProxy's usage lines in the place of the agent, and an image server that answers what it is told."""

import collections
import re
import socket
import threading

from gwstack import ports

from helpers import wait_until

# spoa/usage/line.h
FIELDS = ("token id user key code status bytes_read bytes_uploaded length head request_length start active_ms response_ms "
          "termination backend server route method address path").split()
Line = collections.namedtuple("Line", FIELDS)
TRANSPORTS = ("udp", "tcp")


def parse(message):
    """The fields of one message, without its line end."""
    *header, rest = message.decode("latin-1").split(" ", 6)
    assert len(header) == 6 and re.fullmatch(r"<1(39|42)>1", header[0]), message
    start, *fields = rest.split("\t")
    assert start == "gwu1" and len(fields) == len(FIELDS) + 1, message
    assert fields[-1].startswith(" "), message
    return Line(*fields[:-1])


class Receiver:
    """Takes lines over UDP and over TCP (octet counting) on one port."""

    def __init__(self, port=None):
        self.port = port or ports.find_free()
        self.address = f"127.0.0.1:{self.port}"
        self.messages = {name: [] for name in TRANSPORTS}
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind(("127.0.0.1", self.port))
        self._tcp = socket.create_server(("127.0.0.1", self.port))
        self._connections = []
        for run in (self._take_udp, self._accept):
            threading.Thread(target=run, daemon=True).start()

    def _take_udp(self):
        while True:
            try:
                data = self._udp.recv(65536)
            except OSError:
                return
            if not data:
                return
            assert data.endswith(b"\n"), data
            self.messages["udp"].append(data[:-1])

    def _accept(self):
        while True:
            try:
                sock, _ = self._tcp.accept()
            except OSError:
                return
            self._connections.append(sock)
            threading.Thread(target=self._take_tcp, args=(sock,), daemon=True).start()

    def _take_tcp(self, sock):
        with sock, sock.makefile("rb") as file:
            try:
                while True:
                    length = b""
                    while not length.endswith(b" "):
                        byte = file.read(1)
                        if not byte:
                            return
                        length += byte
                    message = file.read(int(length))
                    if len(message) < int(length):
                        return
                    self.messages["tcp"].append(message)
            except OSError:
                return

    def lines(self, transport):
        return [parse(message) for message in list(self.messages[transport])]

    def find(self, **wanted):
        """What each transport has of lines with these fields."""
        return {name: [line for line in self.lines(name) if all(getattr(line, key) == value for key, value in wanted.items())]
                for name in TRANSPORTS}

    def one(self, **wanted):
        """The line that has these fields, once both transports brought it: one on each, and the same."""
        wait_until(lambda: all(self.find(**wanted).values()), 10, f"a line with {wanted}")
        found = self.find(**wanted)
        assert all(len(lines) == 1 for lines in found.values()) and found["udp"] == found["tcp"], found
        return found["udp"][0]

    def of(self, answer):
        return self.one(id=answer.header("X-Request-ID"))

    def close(self):
        self._udp.close()
        self._tcp.close()
        for sock in self._connections:
            sock.close()


class Origin:
    """An image server whose next answers are `answer`: bytes, and whether it closes then. None: it says nothing."""

    def __init__(self, address):
        host, _, port = address.rpartition(":")
        self.answer, self.closes = b"", False
        self._listener = socket.create_server((host, int(port)))
        threading.Thread(target=self._accept, daemon=True).start()

    def says(self, answer, closes=False):
        self.answer, self.closes = answer, closes

    def _accept(self):
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        buffer = b""
        with sock:
            while True:
                try:
                    while b"\r\n\r\n" not in buffer:
                        data = sock.recv(65536)
                        if not data:
                            return
                        buffer += data
                    head, _, buffer = buffer.partition(b"\r\n\r\n")
                    if head.split(b" ")[1] == b"/health":
                        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                        continue
                    if self.answer is None:
                        sock.recv(1)
                        return
                    sock.sendall(self.answer)
                    if self.closes:
                        return
                except OSError:
                    return

    def close(self):
        self._listener.close()


def plain(body, status="200 OK", headers=()):
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def chunked(sizes, headers=()):
    lines = ["HTTP/1.1 200 OK", "Transfer-Encoding: chunked", *(f"{name}: {value}" for name, value in headers)]
    pieces = [b"%x\r\n%s\r\n" % (size, b"c" * size) for size in sizes]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + b"".join(pieces) + b"0\r\n\r\n"
