"""A client that shows what came over the wire: every byte, and whether an answer was whole.

`http.client` repairs and hides; here a response says how its body was framed, whether it ended
as its framing promised, and what broke it.
"""

import json
import socket
import time
from dataclasses import dataclass, field


class Broken(Exception):
    """The connection ended where a status line or a header should have come."""

    def __init__(self, how, seen):
        super().__init__(f"{how} after {seen[-200:]!r}")
        self.how = how
        self.seen = seen


@dataclass
class Response:
    """One answer. `complete` is what an honest client would believe about the body."""

    status: int
    reason: str
    version: str
    headers: list
    body: bytes = b""
    framing: str = ""  # "length", "chunked", "close" or "none"
    complete: bool = False
    ending: str = ""  # "" when whole, else "eof", "reset", "timeout" or "malformed"
    interim: list = field(default_factory=list)
    trailers: list = field(default_factory=list)
    elapsed: float = 0.0
    chunks: list = field(default_factory=list)

    def all(self, name):
        """Every value of the header, in order."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def __getitem__(self, name):
        values = self.all(name)
        assert len(values) == 1, f"{len(values)} headers {name}: {self.headers}"
        return values[0]

    def get(self, name, default=None):
        values = self.all(name)
        return values[0] if values else default

    @property
    def text(self):
        return self.body.decode("utf-8", "backslashreplace")

    @property
    def json(self):
        return json.loads(self.body)


class Connection:
    """A TCP connection to the server; use it as a context manager."""

    def __init__(self, port, host="127.0.0.1", timeout=20.0):
        self.socket = socket.create_connection((host, port), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.name = f"{host}:{port}"
        self.buffer = b""
        self.seen = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def send_request(self, method, target, headers=(), body=None, version="HTTP/1.1", close=False):
        """Send a request. `body` is bytes, or an iterable of bytes that goes out in chunks."""
        names = {name.lower() for name, _ in headers}
        lines = [f"{method} {target} {version}"]
        if "host" not in names:
            lines.append(f"Host: {self.name}")
        if isinstance(body, (bytes, bytearray)) and "content-length" not in names:
            lines.append(f"Content-Length: {len(body)}")
        elif body is not None and not isinstance(body, (bytes, bytearray)):
            lines.append("Transfer-Encoding: chunked")
        if close:
            lines.append("Connection: close")
        lines += [f"{name}: {value}" for name, value in headers]
        head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
        if body is None:
            self.send(head)
        elif isinstance(body, (bytes, bytearray)):
            self.send(head + body)
        else:
            self.send(head)
            for piece in body:
                self.send_chunk(piece)
            self.send(b"0\r\n\r\n")

    def send_chunk(self, data):
        if data:
            self.send(b"%x\r\n%s\r\n" % (len(data), data))

    def _more(self):
        """Read once; b"" at the end of the stream."""
        data = self.socket.recv(65536)
        self.seen += data[: max(0, 4096 - len(self.seen))]
        return data

    def line(self):
        """One line without its CRLF."""
        while b"\n" not in self.buffer:
            try:
                data = self._more()
            except ConnectionResetError:
                raise Broken("reset", self.buffer) from None
            except TimeoutError:
                raise Broken("timeout", self.buffer) from None
            if not data:
                raise Broken("eof", self.buffer)
            self.buffer += data
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line.rstrip(b"\r")

    def _headers(self):
        headers = []
        while line := self.line():
            name, _, value = line.decode("latin-1").partition(":")
            headers.append((name, value.strip()))
        return headers

    def head(self):
        """Status line and headers of the next response, interim or final, as a Response."""
        version, _, rest = self.line().decode("latin-1").partition(" ")
        status, _, reason = rest.partition(" ")
        if not version.startswith("HTTP/") or not status.isdigit():
            raise Broken("malformed", f"{version} {rest}".encode("latin-1"))
        return Response(int(status), reason, version, self._headers())

    def response(self, method="GET"):
        """The next final response with its body."""
        start = time.monotonic()
        interim = []
        while (answer := self.head()).status < 200:
            interim.append(answer)
        answer.interim = interim
        self.body(answer, method)
        answer.elapsed = time.monotonic() - start
        return answer

    def body(self, answer, method="GET"):
        """Read the body of `answer`, whose head has been read, as its framing says."""
        try:
            if method == "HEAD" or answer.status in (204, 304):
                answer.framing = "none"
            elif "chunked" in answer.get("Transfer-Encoding", "").lower():
                answer.framing = "chunked"
                self._chunks(answer)
            elif answer.get("Content-Length") is not None:
                answer.framing = "length"
                self._exactly(answer, int(answer["Content-Length"]))
            else:
                answer.framing = "close"
                while data := self.buffer or self._more():
                    self.buffer = b""
                    answer.body += data
            answer.complete = True
        except Broken as fault:
            answer.ending = fault.how
        except ConnectionResetError:
            answer.ending = "reset"
        except TimeoutError:
            answer.ending = "timeout"
        return answer

    def _exactly(self, answer, length):
        goal = len(answer.body) + length
        while len(answer.body) < goal:
            if not self.buffer:
                self.buffer = self._more()
                if not self.buffer:
                    raise Broken("eof", answer.body)
            take = goal - len(answer.body)
            answer.body += self.buffer[:take]
            self.buffer = self.buffer[take:]

    def _chunks(self, answer):
        while True:
            line = self.line()
            try:
                size = int(line.split(b";")[0], 16)
            except ValueError:
                raise Broken("malformed", line) from None
            if size == 0:
                answer.trailers = self._headers()
                return
            before = len(answer.body)
            self._exactly(answer, size)
            answer.chunks.append(answer.body[before:])
            if self.line() != b"":
                raise Broken("malformed", answer.body)

    def at_end(self, within=5.0):
        """Wait until the server closes; False when it has not within the limit."""
        if self.buffer:
            return False
        self.socket.settimeout(within)
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False


def request(port, method, target, headers=(), body=None, timeout=20.0, version="HTTP/1.1"):
    """One request on a connection of its own, closed afterwards."""
    if isinstance(headers, dict):
        headers = list(headers.items())
    with Connection(port, timeout=timeout) as connection:
        start = time.monotonic()
        connection.send_request(method, target, headers, body, version, close=True)
        answer = connection.response(method)
        answer.elapsed = time.monotonic() - start
        return answer
