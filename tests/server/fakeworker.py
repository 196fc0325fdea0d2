"""A worker that says what a test tells it, in the place of the real one.

    with FakeWorker(httpd) as worker:
        worker.reply = head(200) + data(b"hello") + end()

It takes the path of the group's socket, so that Apache's children come to it. The frames are those
of crates/wire, written a second time.
"""

import array
import os
import signal
import socket
import struct
import threading

import waiting

VERSION = 2
REQUEST, BODY, BODY_END, BODY_FAILED = 1, 2, 3, 4
PULL, INTERIM, HEAD, DATA, FILE, LOG, RETRY, FAIL, END, ANSWER = range(16, 26)
ROOM = {LOG: 65536 + 64, DATA: 1 << 30, HEAD: (1 << 20) + (64 << 10)}


def frame(kind, payload=b"", version=VERSION, reserved=0, length=None):
    return struct.pack("<BBHI", kind, version, reserved, len(payload) if length is None else length) + payload


def fields(status, pairs=(), reason=b"OK", count=None):
    out = struct.pack("<HH", status, len(reason)) + reason + struct.pack("<H", len(pairs) if count is None else count)
    for name, value in pairs:
        out += struct.pack("<H", len(name)) + name + struct.pack("<I", len(value)) + value
    return out


def head(status=200, *pairs, **how):
    return frame(HEAD, fields(status, pairs, **how))


def interim(status, *pairs):
    return frame(INTERIM, fields(status, pairs, reason=b""))


def data(payload):
    return frame(DATA, payload)


def file(offset, length):
    return frame(FILE, struct.pack("<QQ", offset, length))


def log(text, level=3):
    return frame(LOG, bytes([level]) + text)


def fail(status, text=b""):
    return frame(FAIL, struct.pack("<H", status) + text)


def retry(why):
    return frame(RETRY, bytes([why]))


def end(flags=0):
    return frame(END, struct.pack("<BQQII", flags, 1, 2, 3, 1))


def whole(sock):
    """Read a whole Request frame; what came, even if it is less."""
    got = b""
    while len(got) < 8 or len(got) < 8 + struct.unpack("<I", got[4:8])[0]:
        piece = sock.recv(65536)
        if not piece:
            break
        got += piece
    return got


class FakeWorker:
    """`reply` is bytes, or a function of the connection; `descriptor` travels with the first byte."""

    def __init__(self, httpd):
        (self.path,) = [path for path in httpd.sockets() if ".app." in path.name]
        self.reply = b""
        self.descriptor = None
        self.lingers = False
        self.asked = 0
        self.faults = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._aside = self.path.with_suffix(".aside")
        self.path.rename(self._aside)
        self._listener.bind(str(self.path))
        os.chmod(self.path, 0o666)
        self._listener.listen(64)
        # Apache's children would ask the real workers over connections that they keep; those close
        # them when they leave.
        if any(child.kept_connections for child in httpd.children()):
            for worker in httpd.workers():
                worker.signal(signal.SIGUSR1, may_have_gone=True)
                waiting.for_exit(worker.pid)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(20)
        self._aside.rename(self.path)

    def _run(self):
        while not self._over.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with connection:
            connection.settimeout(20)
            try:
                whole(connection)
                self.asked += 1
                if callable(self.reply):
                    self.reply(connection)
                elif self.reply:
                    self._send(connection)
                if self.lingers:
                    self._over.wait(20)
            except OSError as fault:
                # Apache may hang up on what it hears.
                self.faults.append(fault)

    def _send(self, connection):
        first, rest = self.reply, b""
        if self.descriptor is not None:
            passed = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [self.descriptor]))]
            sent = connection.sendmsg([self.reply], passed)
            first, rest = b"", self.reply[sent:]
        connection.sendall(first + rest)
