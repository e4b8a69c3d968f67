"""HTTP on a plain socket: requests that no library would send, and answers taken apart without mercy."""

import json
import socket


class Answer:
    """One HTTP answer. `headers` keeps order and repeated names."""

    def __init__(self, status, reason, headers, body):
        self.status, self.reason, self.headers, self.body = status, reason, headers, body

    def all(self, name):
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def header(self, name):
        """The value of a header that must not be repeated; None when it is absent."""
        found = self.all(name)
        assert len(found) <= 1, f"{name} came {len(found)} times: {found}"
        return found[0] if found else None

    def json(self):
        return json.loads(self.body)

    @property
    def code(self):
        """The problem's code, None when the answer is no problem."""
        if self.header("Content-Type") != "application/problem+json":
            return None
        return self.json()["code"]

    def __repr__(self):
        return f"<Answer {self.status} {self.headers} {self.body[:300]!r}>"


class _Reader:
    def __init__(self, sock):
        self.sock, self.buffer = sock, b""

    def _more(self):
        piece = self.sock.recv(262144)
        self.buffer += piece
        return bool(piece)

    def line(self):
        while b"\r\n" not in self.buffer:
            if not self._more():
                raise ConnectionError(f"the connection ended within the head: {self.buffer[:200]!r}")
        line, _, self.buffer = self.buffer.partition(b"\r\n")
        return line.decode("latin-1")

    def exactly(self, count):
        pieces, have = [self.buffer], len(self.buffer)
        while have < count:
            piece = self.sock.recv(262144)
            if not piece:
                raise ConnectionError(f"the connection ended after {have} of {count} bytes of the body")
            pieces.append(piece)
            have += len(piece)
        data = b"".join(pieces)
        self.buffer = data[count:]
        return data[:count]

    def rest(self):
        while self._more():
            pass
        data, self.buffer = self.buffer, b""
        return data


def read_answer(sock, head_only=False):
    """Reads one answer; informational ones (100 Continue) are passed over."""
    reader = _Reader(sock)
    while True:
        version, status, *reason = reader.line().split(" ", 2)
        assert version.startswith("HTTP/1."), version
        headers = []
        while line := reader.line():
            name, colon, value = line.partition(":")
            assert colon and name == name.strip(), f"a broken header: {line!r}"
            headers.append((name, value.strip()))
        if int(status) >= 200:
            break
    answer = Answer(int(status), "".join(reason), headers, b"")
    if head_only or answer.status in (204, 304):
        return answer
    if (answer.header("Transfer-Encoding") or "").lower() == "chunked":
        pieces = []
        while size := int(reader.line().split(";")[0], 16):
            pieces.append(reader.exactly(size))
            assert reader.line() == ""
        assert reader.line() == ""
        answer.body = b"".join(pieces)
    elif answer.header("Content-Length") is not None:
        answer.body = reader.exactly(int(answer.header("Content-Length")))
    else:
        answer.body = reader.rest()
    return answer


def connect(address, timeout=30.0):
    """address: host:port or unix@/path."""
    if address.startswith("unix@"):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(timeout)
        sock.connect(address[len("unix@"):])
        return sock
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout)


def send_raw(address, data, head_only=False, timeout=30.0):
    """Sends these bytes as they are and reads one answer."""
    with connect(address, timeout) as sock:
        try:
            sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused before the whole body was read: the answer is there already
        return read_answer(sock, head_only)


def build(method, target, headers=(), body=None, host="gateway.test", length=True):
    """The bytes of a request. `headers` is a list of pairs or a dict; names may come twice."""
    pairs = list(headers.items() if isinstance(headers, dict) else headers)
    lines = [f"{method} {target} HTTP/1.1"]
    if host is not None:
        lines.append(f"Host: {host}")
    lines += [f"{name}: {value}" for name, value in pairs]
    if body is not None and length:
        lines.append(f"Content-Length: {len(body)}")
    lines.append("Connection: close")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (body or b"")


def multipart(data, filename="photo.jpg", content_type="image/jpeg", field="file", extra=()):
    """(Content-Type, body) of a form with one file and the text fields `extra`."""
    boundary = "----------------------------gateway7e3f"
    parts = [f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
             for name, value in extra]
    parts.append(f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"; filename="{filename}"\r\n'
                 f"Content-Type: {content_type}\r\n\r\n".encode() + data + b"\r\n")
    return f"multipart/form-data; boundary={boundary}", b"".join(parts) + f"--{boundary}--\r\n".encode()


def check_problem(answer, status, code):
    """The contract's form of every refusal. Returns the parsed body."""
    assert answer.status == status, answer
    assert answer.header("Content-Type") == "application/problem+json", answer
    problem = answer.json()
    assert sorted(problem) == ["code", "detail", "request_id", "status", "title", "type"], problem
    assert problem["code"] == code, problem
    assert problem["status"] == status and isinstance(problem["status"], int), problem
    for field in ("type", "title", "detail", "request_id"):
        assert isinstance(problem[field], str) and problem[field], problem
    assert answer.header("X-Request-ID") == problem["request_id"], answer
    assert answer.header("Cache-Control") == "no-store", answer
    assert (answer.header("WWW-Authenticate") is not None) == (status == 401), answer
    if status in (429, 503):
        assert int(answer.header("Retry-After")) >= 1, answer
    if status == 405:
        assert answer.header("Allow"), answer
    return problem
