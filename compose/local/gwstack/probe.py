"""Small clients that ask a part whether it is ready. Standard library alone."""

import http.client
import socket
import ssl
import urllib.parse


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def split_address(address):
    """host:port -> (host, port); unix@/path -> (None, "/path")."""
    if address.startswith("unix@"):
        return None, address[len("unix@"):]
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def http_request(address, target, method="GET", body=None, headers=None, timeout=5.0, tls=False):
    """One request to host:port or unix@PATH. Returns (status, headers, body); status 0 when no answer came, and then
    the reason is the body. tls: over TLS, whatever certificate is shown (it is our own HAProxy on this machine)."""
    host, where = split_address(address)
    if host is None:
        conn = _UnixConnection(where, timeout)
    elif tls:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        conn = http.client.HTTPSConnection(host, where, timeout=timeout, context=context)
    else:
        conn = http.client.HTTPConnection(host, where, timeout=timeout)
    try:
        conn.request(method, target, body=body, headers=headers or {})
        answer = conn.getresponse()
        return answer.status, answer.headers, answer.read()
    except (OSError, http.client.HTTPException) as error:
        return 0, {}, (str(error) or type(error).__name__).encode()
    finally:
        conn.close()


def http_ready(address, target, want=200):
    """None when the answer has the wanted status, else why not."""
    status, _, body = http_request(address, target, timeout=2.0)
    if status == want:
        return None
    if status == 0:
        return body.decode(errors="replace")
    return f"{target} answers {status}"


def connects(address, timeout=1.0):
    """None when something accepts connections at host:port or unix@PATH, else why not."""
    host, where = split_address(address)
    try:
        if host is None:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
                sock.settimeout(timeout)
                sock.connect(where)
        else:
            socket.create_connection((host, where), timeout).close()
    except OSError as error:
        return f"{address}: {error.strerror or error}"
    return None


def redis_ready(address, password=""):
    """None when Redis answers PING with PONG."""
    host, where = split_address(address)
    try:
        with socket.create_connection((host, where), 1.0) as sock:
            if password:
                word = password.encode()
                sock.sendall(b"*2\r\n$4\r\nAUTH\r\n$%d\r\n%s\r\n" % (len(word), word))
                sock.recv(256)
            sock.sendall(b"PING\r\n")
            answer = sock.recv(64)
    except OSError as error:
        return str(error.strerror or error)
    return None if answer.startswith(b"+PONG") else answer.decode(errors="replace").strip()


def host_port_of(url):
    parts = urllib.parse.urlsplit(url)
    return f"{parts.hostname}:{parts.port}"
