"""HTTP/2 over TLS: requests that no library would send, answers as helpers_http.Answer."""

import socket
import ssl
import subprocess

import h2.config
import h2.connection
import h2.events
import h2.exceptions

from helpers_http import Answer


def make_certificate(folder, name="gateway", authority=None, hosts=("gateway.test", "localhost"), days=2):
    """A key and a certificate for these hosts and 127.0.0.1, by openssl: (certificate, key) as paths. With `authority`
    (another such pair) signed by that one, else by itself and good as an authority."""
    certificate, key = f"{folder}/{name}.crt", f"{folder}/{name}.key"
    names = ",".join([f"DNS:{host}" for host in hosts] + ["IP:127.0.0.1"])
    signer = ["-CA", authority[0], "-CAkey", authority[1]] if authority else []
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days",
         str(days), "-subj", f"/CN={name}", "-addext", f"subjectAltName={names}", "-out", certificate, "-keyout", key,
         *signer], check=True, capture_output=True)
    return certificate, key


def tls_context(authority, alpn=("h2",), least=None, most=None):
    context = ssl.create_default_context(cafile=authority)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if least:
        context.minimum_version = least
    if most:
        context.maximum_version = most
    return context


class Stopped(Exception):
    """The stream or the connection ended without an answer."""


class Client:
    """One connection, any number of requests at once."""

    def __init__(self, address, context, timeout=30.0):
        host, _, port = address.rpartition(":")
        self.sock = context.wrap_socket(socket.create_connection((host, int(port)), timeout), server_hostname="gateway.test")
        assert self.sock.selected_alpn_protocol() == "h2"
        # What is sent is the test's own business; what comes is checked by the library.
        self.conn = h2.connection.H2Connection(h2.config.H2Configuration(
            client_side=True, validate_outbound_headers=False, normalize_outbound_headers=False,
            header_encoding="latin-1"))
        self.conn.initiate_connection()
        self._flush()
        self.answers, self.ended, self.interim = {}, {}, {}

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.sock.close()

    def _flush(self):
        try:
            self.sock.sendall(self.conn.data_to_send())
        except OSError:
            pass  # closed already: reading tells how

    def start(self, headers, end=True):
        """Sends the head: all of it, pseudo headers too, as (name, value). Returns the stream."""
        stream = self.conn.get_next_available_stream_id()
        self.conn.send_headers(stream, headers, end_stream=end)
        self._flush()
        self.answers[stream], self.ended[stream], self.interim[stream] = Answer(0, "", [], b""), None, []
        return stream

    def send(self, stream, data):
        """The body and its end, as fast as the server takes it. Stops when the stream has ended."""
        data = memoryview(data)
        try:
            while len(data) and not self.ended[stream]:
                room = min(self.conn.local_flow_control_window(stream), self.conn.max_outbound_frame_size, len(data))
                if room == 0:
                    self._read()
                    continue
                self.conn.send_data(stream, bytes(data[:room]))
                data = data[room:]
                self._flush()
            if not self.ended[stream]:
                self.conn.end_stream(stream)
                self._flush()
        except h2.exceptions.StreamClosedError:
            pass  # the answer came before the end of the body

    def _read(self):
        try:
            data = self.sock.recv(65536)
        except ConnectionError:
            data = b""
        if not data:
            for stream, how in self.ended.items():
                self.ended[stream] = how or "closed"
            return
        for event in self.conn.receive_data(data):
            stream = getattr(event, "stream_id", None)
            if isinstance(event, h2.events.ResponseReceived):
                fields = [tuple(field) for field in event.headers]
                self.answers[stream].status = int(dict(fields)[":status"])
                self.answers[stream].headers = [field for field in fields if not field[0].startswith(":")]
            elif isinstance(event, h2.events.InformationalResponseReceived):
                self.interim[stream].append(int(dict(event.headers)[":status"]))
            elif isinstance(event, h2.events.DataReceived):
                self.answers[stream].body += event.data
                self.conn.acknowledge_received_data(event.flow_controlled_length, stream)
            elif isinstance(event, h2.events.StreamEnded):
                self.ended[stream] = "end"
            elif isinstance(event, h2.events.StreamReset):
                self.ended[stream] = self.ended[stream] or f"reset {event.error_code!r}"
            elif isinstance(event, h2.events.ConnectionTerminated):
                for each, how in self.ended.items():
                    self.ended[each] = how or f"goaway {event.error_code!r}"
        self._flush()

    def answer(self, stream):
        while not self.ended[stream]:
            self._read()
        if self.ended[stream] != "end":
            raise Stopped(self.ended[stream])
        return self.answers[stream]


def head(method, path, key=None, headers=(), authority="gateway.test", scheme="https"):
    """The fields of a usual request; None leaves a pseudo header out."""
    pseudo = [(":method", method), (":scheme", scheme), (":authority", authority), (":path", path)]
    fields = [field for field in pseudo if field[1] is not None]
    if key is not None:
        fields.append(("x-api-key", getattr(key, "key", key)))
    return fields + [(name.lower(), value) for name, value in (headers.items() if isinstance(headers, dict) else headers)]


def request(address, context, method, path, key=None, headers=(), body=None, length=True, **more):
    """One request on a connection of its own."""
    fields = head(method, path, key, headers, **more)
    if body is not None and length:
        fields.append(("content-length", str(len(body))))
    with Client(address, context) as client:
        stream = client.start(fields, end=body is None)
        if body is not None:
            client.send(stream, body)
        return client.answer(stream)
