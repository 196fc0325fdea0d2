"""The messages of crates/wire, as far as a supervisor and an Apache child write and read them.

Written from the Rust sources, on purpose a second time: a mistake there does not repeat itself here.
"""

import pathlib
import re
import struct
from dataclasses import dataclass, field

VERSION = 2
ROOT = pathlib.Path(__file__).resolve().parents[3]

REQUEST, BODY, BODY_END, BODY_FAILED = 1, 2, 3, 4
PULL, INTERIM, HEAD, DATA, FILE, LOG, RETRY, FAIL, END = range(16, 25)
TO_WORKER, FROM_WORKER = 34, 35

# Request flags.
RELOAD, BODY_WHOLE, EXPECTS_CONTINUE, HTTP_1_0, IGNORE_ACTIVITY, IS_HEAD = (1 << n for n in range(6))

# Reasons for leaving.
STALE, MAXIMUM_REQUESTS, LOAD_FAILED, SIGNAL, TIME_LIMIT, INACTIVE = 1, 2, 3, 4, 5, 6


def known_keys():
    source = (ROOT / "crates/wire/src/keys.rs").read_text()
    table = source[source.index("pub const KNOWN") : source.index("];")]
    return re.findall(r'"([^"]+)"', table)


KNOWN = {name: code for code, name in enumerate(known_keys(), 1)}


def frame(kind, payload=b""):
    return struct.pack("<BBHI", kind, VERSION, 0, len(payload)) + payload


def short(data):
    return struct.pack("<H", len(data)) + data


def long(data):
    return struct.pack("<I", len(data)) + data


def raw(value):
    return value if isinstance(value, bytes) else str(value).encode("latin-1")


def request(environ, *, key, script, group="", callable="application", body=b"", flags=0,
            request_start=1_000_000, queue_start=2_000_000, sent=3_000_000, content_length=None):
    """A whole Request frame."""
    # The role: 0 runs the application.
    out = struct.pack("<I", flags) + b"\0" + key + struct.pack("<QQQ", request_start, queue_start, sent)
    out += struct.pack("<Q", 2**64 - 1 if content_length is None else content_length)
    out += short(raw(script)) + short(raw(group)) + short(raw(callable))
    out += struct.pack("<I", len(environ))
    for name, value in environ.items():
        code = KNOWN.get(name, 0)
        out += bytes([code]) + (b"" if code else short(raw(name))) + long(raw(value))
    return frame(REQUEST, out + long(body))


def setup(name="shop", *, key, threads=2, processes=1, multiprocess=False, preload=(),
          global_reachable=False, generation=1, earlier_keys=(), socket_uid=0, home=None, chdir=None,
          python_path=(), restrict_stdin=False, restrict_stdout=False, restrict_signal=True,
          destroy_interpreter=True, maximum_requests=0, jitter=0, stack_size=0, shutdown=5000,
          graceful=15000, socket=60000, display_name="", one_process=False, user="user1",
          user_home="/home/user1", locale=None, eggs=None, startup=0, deadlock=0, inactivity=0,
          request_limit=0, interrupt=0, eviction=0, queue=0, repertoire=(), has_peers=False,
          script_user=None, script_group=None):
    """A whole ToWorker packet with Setup. A limit of 0 is none; times are milliseconds."""
    def text(value):
        return long(raw(value))

    def maybe(value, encode=text):
        return b"\0" if value is None else b"\1" + encode(value)

    def items(values, encode=text):
        return struct.pack("<I", len(values)) + b"".join(encode(value) for value in values)

    def flag(value):
        return b"\1" if value else b"\0"

    def pair(value):
        return text(value[0]) + text(value[1])

    def duration(milliseconds):
        return struct.pack("<QI", milliseconds // 1000, milliseconds % 1000 * 1_000_000)

    def limit(value, encode=duration):
        return maybe(value or None, encode)

    u32, u64 = struct.Struct("<I").pack, struct.Struct("<Q").pack
    group = text(name) + u32(1) + u32(processes) + flag(multiprocess) + u32(threads)
    group += text(display_name)
    # identity
    group += flag(False) + u32(0) + u32(0) + items([], u32) + text(user) + text(user_home)
    group += flag(False)
    # environment
    group += maybe(home) + maybe(chdir) + maybe(None) + maybe(None, u32) + maybe(None)
    group += maybe(locale) + items([]) + flag(False)
    # python: home, eggs, optimize, dont_write_bytecode, hash_seed, warnings, free_threading
    group += maybe(None) + maybe(eggs) + u32(0) + flag(False) + maybe(None) + items([]) + flag(False)
    group += flag(destroy_interpreter)
    # The main interpreter, the others, and those of no application group by name.
    interpreter = items(python_path) + maybe(None) + flag(False)
    interpreter += flag(restrict_stdin) + flag(restrict_stdout) + flag(restrict_signal)
    group += interpreter + interpreter + items([])
    # resources
    group += limit(stack_size, u64) + limit(0) + struct.pack("<i", 0) + limit(0) + limit(0)
    # replacement
    group += limit(maximum_requests, u64) + u64(jitter) + limit(0)
    # script_owner
    group += maybe(script_user, u32) + maybe(script_group, u32)
    # timeouts
    group += limit(startup) + limit(deadlock) + limit(inactivity) + limit(request_limit)
    group += limit(interrupt) + limit(graceful) + limit(eviction) + limit(shutdown) + limit(0)
    group += limit(socket) + limit(queue)
    # listener
    group += u32(socket_uid) + u32(100) + limit(0) + limit(0)
    group += items(preload, pair) + flag(global_reachable)
    # server facts
    facts = struct.pack("<6I", 2, 4, 71, 6, 1, 1) + text("Apache/2.4.71") + text("today")
    facts += text("event") + u32(16) + u32(25) + text("/so") + text("/usr/bin/python3") + u32(1)
    facts += flag(one_process)
    message = b"\1" + group + key + facts + u32(generation) + items(earlier_keys, lambda key: key)
    message += items(repertoire, pair) + flag(has_peers)
    return frame(TO_WORKER, message)


def drain(milliseconds):
    return frame(TO_WORKER, b"\2" + struct.pack("<Q", milliseconds))


def stop(milliseconds):
    return frame(TO_WORKER, b"\3" + struct.pack("<Q", milliseconds))


@dataclass
class Head:
    status: int
    reason: bytes
    fields: list

    @classmethod
    def decode(cls, payload):
        status, length = struct.unpack_from("<HH", payload)
        reason = payload[4 : 4 + length]
        at = 4 + length
        (count,) = struct.unpack_from("<H", payload, at)
        at += 2
        fields = []
        for _ in range(count):
            (n,) = struct.unpack_from("<H", payload, at)
            name = payload[at + 2 : at + 2 + n]
            at += 2 + n
            (n,) = struct.unpack_from("<I", payload, at)
            fields.append((name.decode(), payload[at + 4 : at + 4 + n].decode("latin-1")))
            at += 4 + n
        assert at == len(payload)
        return cls(status, reason, fields)


@dataclass
class Answer:
    """What a worker answered: the frames in their order, and what they amount to."""

    frames: list = field(default_factory=list)
    files: list = field(default_factory=list)
    #: How the connection ended: "last" after the last frame, "eof", "reset".
    ending: str = "eof"

    def of(self, kind):
        return [payload for got, payload in self.frames if got == kind]

    @property
    def kinds(self):
        return [kind for kind, _ in self.frames]

    @property
    def head(self):
        (payload,) = self.of(HEAD)
        return Head.decode(payload)

    @property
    def status(self):
        return self.head.status if self.of(HEAD) else None

    @property
    def headers(self):
        return self.head.fields

    @property
    def body(self):
        return b"".join(self.of(DATA))

    @property
    def interims(self):
        return [Head.decode(payload) for payload in self.of(INTERIM)]

    @property
    def logs(self):
        return [(payload[0], payload[1:].decode("utf-8", "replace")) for payload in self.of(LOG)]

    @property
    def log(self):
        return "\n".join(text for _, text in self.logs)

    @property
    def fail(self):
        for payload in self.of(FAIL):
            return struct.unpack_from("<H", payload)[0], payload[2:].decode()
        return None

    @property
    def retry(self):
        for payload in self.of(RETRY):
            return payload[0]
        return None

    @property
    def end(self):
        for payload in self.of(END):
            broken, queue, application, pid, thread = struct.unpack("<BQQII", payload)
            return {"broken": bool(broken), "queue_time": queue, "application_time": application,
                    "pid": pid, "thread": thread}
        return None

    @property
    def complete(self):
        return self.end is not None and not self.end["broken"]
