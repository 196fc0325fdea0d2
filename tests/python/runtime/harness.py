"""Plays supervisor and Apache child against one real worker process."""

import array
import contextlib
import fcntl
import os
import pathlib
import re
import socket
import struct
import subprocess
import tempfile
import threading
import time

import wire

ROOT = pathlib.Path(__file__).resolve().parents[3]
RUNTIME = os.environ.get("WSGI_RUNTIME", str(ROOT / "target/release/libwsgi_runtime.so"))
#: What the supervisor gives Python to run: docs are in crates/runtime/src/python/module.rs.
BOOTSTRAP = (
    "import sys,_imp;from importlib.machinery import ModuleSpec as S;"
    "_imp.create_dynamic(S('wsgi_runtime',None,origin=sys.argv[1])).main()"
)
#: No wait of a test takes longer.
LIMIT = 20


def eventually(condition, limit=LIMIT, what="condition"):
    """Waits until `condition()` is true, and returns what it returned."""
    end = time.monotonic() + limit
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {limit} s")
        time.sleep(0.005)


# Level info, as the supervisor reads it.
LOADED = re.compile("\x1e6WSGI0450: .*\n")


class Worker:
    """A worker process, and the ends of what it is connected to."""

    def __init__(self, python, directory, environ=None, **setup):
        self.key = setup.pop("key", b"0123456789abcdef")
        self.path = os.path.join(tempfile.mkdtemp(dir=directory), "group.sock")
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(1024)
        self.listener.setblocking(False)
        self.control, control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control.settimeout(LIMIT)
        reader, writer = os.pipe()
        fds = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 100)
               for fd in (self.listener.fileno(), control.fileno())]

        def place():
            os.dup2(fds[0], 3)
            os.dup2(fds[1], 4)
            os.closerange(5, 1024)

        self.process = subprocess.Popen(
            [python, "-c", BOOTSTRAP, RUNTIME, " " * 64], stdin=subprocess.DEVNULL, stdout=writer,
            stderr=writer, close_fds=False, preexec_fn=place, env=environ)
        for fd in (*fds, writer):
            os.close(fd)
        control.close()
        self.pid = self.process.pid
        self._log = bytearray()
        self._reading = threading.Event()
        self._reading.set()
        self._reader = threading.Thread(target=self._read_log, args=(reader,), daemon=True)
        self._reader.start()
        self.said = []
        self.loaded = []
        self.control.send(wire.setup(key=self.key, **setup))

    def _read_log(self, fd):
        while data := os.read(fd, 65536):
            self._log += data
            self._reading.wait()
        os.close(fd)

    def pause_log(self):
        """Stops reading the worker's log, but for one more piece of it."""
        self._reading.clear()

    def resume_log(self):
        self._reading.set()

    @property
    def log(self):
        """All that the worker has logged but how long scripts took to load: that is in `loads`."""
        return re.sub(LOADED, "", self._log.decode("utf-8", "replace"))

    @property
    def loads(self):
        return re.findall(LOADED, self._log.decode("utf-8", "replace"))

    def ready(self):
        """Waits until the worker is ready; what it said before is in `said`."""
        while True:
            message = self.hear()
            if message == ("ready",):
                return self
            assert message is not None, f"the worker left: {self.log}"
            self.said.append(message)

    def hear(self, limit=LIMIT):
        """The next message to the supervisor; None when the worker has closed the conversation.

        What it has loaded, for its successors, goes to `loaded` and is no message here.
        """
        self.control.settimeout(limit)
        while True:
            packet = self.control.recv(1 << 17)
            if not packet:
                return None
            kind, version, zero, length = struct.unpack_from("<BBHI", packet)
            assert (kind, version, zero, length) == (wire.FROM_WORKER, wire.VERSION, 0, len(packet) - 8)
            tag, rest = packet[8], packet[9:]
            # The report of a script that failed to load, whose text is in the log, too; and the
            # script that is about to be loaded.
            if tag in (6, 9):
                continue
            if tag in (4, 7):
                size = struct.unpack_from("<I", rest)[0]
                self.loaded.append((rest[4 : 4 + size], rest[8 + size :]))
                continue
            if tag == 1:
                return ("ready",)
            if tag == 2:
                return ("leaving", rest[0])
            return ({3: "unusable", 5: "cannot load"}[tag], rest[4:].decode())

    def connect(self):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(LIMIT)
        connection.connect(self.path)
        return connection

    def send(self, script, path="/", environ=None, method="GET", **more):
        """Connects and sends a request; returns the connection."""
        connection = self.connect()
        connection.sendall(self.message(script, path, environ, method, **more))
        return connection

    def message(self, script, path="/", environ=None, method="GET", **more):
        table = {
            "REQUEST_METHOD": method, "SCRIPT_NAME": "", "PATH_INFO": path, "QUERY_STRING": "",
            "SERVER_PROTOCOL": "HTTP/1.1", "SERVER_NAME": "shop", "SERVER_PORT": "80",
            "wsgi.url_scheme": "http", "mod_wsgi.request_id": f"id{time.monotonic_ns()}",
            "mod_wsgi.process_group": "shop", "SCRIPT_FILENAME": str(script),
            **(environ or {}),
        }
        more.setdefault("flags", wire.BODY_WHOLE | wire.RELOAD)
        more.setdefault("queue_start", int(time.time() * 1e6))
        more.setdefault("sent", int(time.monotonic() * 1e6))
        more.setdefault("key", self.key)
        return wire.request(table, script=str(script), **more)

    def get(self, script, path="/", environ=None, method="GET", supply=None, **more):
        """One request and its answer."""
        with self.send(script, path, environ, method, **more) as connection:
            return self.answer(connection, supply)

    def answer(self, connection, supply=None):
        """Reads frames up to the last one. `supply` are the frames to send when pulled."""
        answer = wire.Answer()
        pending = b""
        while True:
            try:
                data, control, _, _ = connection.recvmsg(1 << 20, socket.CMSG_SPACE(16))
            except ConnectionResetError:
                answer.ending = "reset"
                return answer
            for level, kind, payload in control:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    fds = array.array("i")
                    fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
                    answer.files.extend(fds)
            if not data:
                assert not pending
                return answer
            pending += data
            while len(pending) >= 8:
                kind, version, zero, length = struct.unpack_from("<BBHI", pending)
                assert (version, zero) == (wire.VERSION, 0)
                if len(pending) < 8 + length:
                    break
                answer.frames.append((kind, pending[8 : 8 + length]))
                pending = pending[8 + length :]
                if kind == wire.PULL and supply is not None:
                    threading.Thread(target=self._supply, args=(connection, supply)).start()
                if kind in (wire.RETRY, wire.FAIL, wire.END):
                    assert not pending
                    answer.ending = "last"
                    return answer

    @staticmethod
    def _supply(connection, supply):
        try:
            for piece in supply:
                connection.sendall(piece)
        except OSError:
            pass

    def wait(self, limit=LIMIT):
        """Waits for the end of the process and returns its status."""
        try:
            return self.process.wait(limit)
        finally:
            self._reader.join(limit)

    def close(self):
        """Ends it, whatever it does."""
        self.resume_log()
        self.control.close()
        try:
            self.process.wait(3)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join(3)
        self.listener.close()

    def memory(self):
        """Private bytes in KiB."""
        total = 0
        for line in open(f"/proc/{self.pid}/smaps_rollup"):
            if line.startswith(("Private_Clean", "Private_Dirty")):
                total += int(line.split()[1])
        return total

    def descriptors(self):
        directory = f"/proc/{self.pid}/fd"
        found = {}
        for fd in os.listdir(directory):
            # A thread may close one meanwhile.
            with contextlib.suppress(FileNotFoundError):
                found[int(fd)] = os.readlink(f"{directory}/{fd}")
        return found

    def threads(self):
        return len(os.listdir(f"/proc/{self.pid}/task"))
