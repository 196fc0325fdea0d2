"""One request of the chaos run: what is asked for, how the client behaves, and the verdict.

A verdict is about integrity and is never excused: a body that ends as its framing promises is
the right one, to the byte and for this very request; the application has got the body that was
sent. Whether a request was answered at all is the judge's matter, who knows which faults there were.
"""

import hashlib
import random
import time
from dataclasses import dataclass
from urllib.parse import urlencode

from client import Broken, Connection

# How often each manner is asked for. What a client does to itself has no place in availability.
MANNERS = {
    "get": 60,
    "post": 22,
    "stream": 6,
    "file": 4,
    "head": 2,
    "unread": 2,
    "long": 1,
    "raise": 1,
    "raise-middle": 1,
    "fat-head": 1,
    "fat-request": 0.5,
    "slow-read": 1,
    "slow-send": 1,
    "abort-download": 1,
    "abort-upload": 1,
}
ABORTS = ("abort-download", "abort-upload")
# Lengths around every border: empty, small, one message (64 KiB), more than the sockets hold.
SIZES = [0, 1, 100, 1000, 5000, 20_000, 65_535, 65_537, 200_000, 1_000_000]
WEIGHTS = [2, 2, 10, 20, 15, 8, 3, 3, 3, 2]


def content(name, size):
    """The bytes of the response named `name`; the application has the same function."""
    return random.Random(name).randbytes(size)


@dataclass
class Ask:
    """One request. `name` is used once in a run."""

    name: str
    group: str
    manner: str
    method: str = "GET"
    size: int = 0
    how: str = "list"
    read: str = ""
    upload: int = -1
    chunked: bool = False
    die: str = ""
    middle: str = ""
    pause: float = 0.0
    work: float = 0.0
    pad: int = 0

    @property
    def target(self):
        shown = {"name": self.name, "size": self.size, "how": self.how}
        extra = {key: getattr(self, key) for key in ("read", "die", "middle", "pause", "work", "pad")}
        return f"/{self.group}?" + urlencode({**shown, **{key: value for key, value in extra.items() if value}})

    @property
    def sent(self):
        """The request body, or None."""
        return None if self.upload < 0 else content(self.name + " up", self.upload)

    def __str__(self):
        body = f" with {self.upload} bytes{' in chunks' if self.chunked else ''}" if self.upload >= 0 else ""
        return f"{self.manner}: {self.method} {self.target}{body}"


def plan(dice, name, group, without=()):
    """A request by the dice, of none of the manners `without`."""
    manners = {manner: weight for manner, weight in MANNERS.items() if manner not in without}
    manner = dice.choices(list(manners), manners.values())[0]
    ask = Ask(name, group, manner)
    ask.size = dice.choices(SIZES, WEIGHTS)[0]
    ask.how = dice.choice(["list", "list", "length", "flow", "write"])
    if manner in ("post", "unread", "slow-send", "abort-upload"):
        ask.method = "POST"
        ask.upload = dice.choices(SIZES, WEIGHTS)[0]
        ask.chunked = dice.random() < 0.3
        ask.read = dice.choice(["whole", "lines", "pieces"])
    if manner == "unread":
        ask.upload, ask.size, ask.read = 400_000, 400_000, ""
    elif manner in ("slow-send", "abort-upload"):
        ask.upload = dice.choice([5000, 200_000, 1_000_000])
    elif manner in ("slow-read", "abort-download"):
        ask.size = dice.choice([200_000, 1_000_000])
    elif manner == "stream":
        ask.how, ask.pause = dice.choice(["flow", "length", "write"]), dice.choice([0.003, 0.02])
    elif manner == "long":
        ask.work = dice.choice([0.5, 1.5])
    elif manner == "file":
        ask.how = "file"
    elif manner == "head":
        ask.method = "HEAD"
    elif manner == "raise":
        ask.die = "raise"
    elif manner == "raise-middle":
        ask.how, ask.middle, ask.size = dice.choice(["flow", "length", "write"]), "raise", max(ask.size, 5000)
    elif manner == "fat-head":
        ask.pad = 10
    return ask


@dataclass
class Answer:
    """What came of an ask. `wrong` is a broken promise; `failed` an answer that did not come."""

    ask: Ask
    start: float
    end: float = 0.0
    status: int = 0
    wrong: str = ""
    failed: str = ""
    # A kept connection that the server had closed meanwhile: nothing was answered, the request
    # is asked for again under another name, and the application must not have seen this one.
    stale: bool = False
    reusable: bool = False


class Slow(Connection):
    """A connection that takes its time to read."""

    def _more(self):
        time.sleep(0.02)
        data = self.socket.recv(16384)
        self.seen += data[: max(0, 4096 - len(self.seen))]
        return data


def have(ask, connection, fresh, file):
    """Ask over `connection` and judge. `file` is the content of the file the application sends."""
    answer = Answer(ask, time.monotonic())
    sending = None
    try:
        send(ask, connection)
    except OSError as fault:
        # The server may have answered before it closed; a reset takes that answer along.
        sending = fault
    if ask.manner == "abort-upload":
        answer.end = time.monotonic()
        return answer
    try:
        if ask.manner == "abort-download":
            connection.head()
            connection.socket.recv(1000)
            answer.end = time.monotonic()
            return answer
        response = connection.response(ask.method)
    except (Broken, OSError) as fault:
        answer.end = time.monotonic()
        seen = getattr(fault, "seen", b"")
        answer.failed = f"no answer: {sending or ''} {fault!r}"
        answer.stale = not fresh and not seen and getattr(fault, "how", "") != "timeout"
        return answer
    answer.end = time.monotonic()
    answer.status = response.status
    closing = response.get("Connection", "").lower() == "close" or getattr(connection, "going_away", False)
    answer.reusable = response.complete and sending is None and not closing
    judge(answer, response, file)
    return answer


def send(ask, connection):
    headers = [("X-Name", ask.name)]
    if ask.manner == "fat-request":
        headers.append(("X-Fat", "x" * 20_000))
    body = ask.sent
    if body is None:
        connection.send_request(ask.method, ask.target, headers)
        return
    pieces = [body[start : start + 30_000] for start in range(0, len(body), 30_000)]
    if ask.manner == "abort-upload":
        body, pieces = body[: len(body) // 2], pieces[: len(pieces) // 2]
        if not ask.chunked:
            headers.append(("Content-Length", str(ask.upload)))
    if ask.chunked and ask.manner == "abort-upload":
        # Without the last chunk: the body never ends.
        headers.append(("Transfer-Encoding", "chunked"))
        connection.send_request("POST", ask.target, headers)
        for piece in pieces:
            connection.send_chunk(piece)
    elif ask.chunked:
        connection.send_request("POST", ask.target, headers, slowly(pieces, 0.05 if ask.manner == "slow-send" else 0))
    elif ask.manner == "slow-send":
        connection.send_request("POST", ask.target, headers + [("Content-Length", str(len(body)))])
        for piece in slowly(pieces, 0.05):
            connection.send(piece)
    else:
        connection.send_request("POST", ask.target, headers, body)


def slowly(pieces, pause):
    for piece in pieces:
        time.sleep(pause)
        yield piece


def judge(answer, response, file):
    ask = answer.ask
    if response.status != 200:
        # A response that breaks before a byte of it went out can still be an honest error.
        expected = {"raise": (500,), "raise-middle": (500, 502), "fat-request": (400,)}.get(ask.manner, ())
        if response.status not in expected:
            answer.failed = f"{response.status}"
        elif not response.complete:
            answer.failed = f"{response.status}, broken: {response.ending}"
        return
    if response.get("X-Name") != ask.name:
        answer.wrong = f"the answer to {response.get('X-Name')!r}"
        return
    if ask.read:
        body = ask.sent
        got, sent = response.get("X-Got"), f"{len(body)} {hashlib.sha256(body).hexdigest()}"
        if got != sent:
            answer.wrong = f"the application read {got}, sent was {sent}"
            return
    right = file if ask.how == "file" else content(ask.name, ask.size)
    if ask.method == "HEAD":
        right = b""
    elif ask.how != "file" and response.get("X-Digest") != hashlib.sha256(right).hexdigest():
        answer.wrong = f"digest {response.get('X-Digest')} is not that of the request's body"
        return
    if response.complete and response.body != right:
        answer.wrong = f"{len(response.body)} bytes that end as promised ({response.framing}), not the right {len(right)}"
    elif not right.startswith(response.body):
        answer.wrong = f"{len(response.body)} bytes of which some are not the right ones"
    elif response.complete and (ask.middle or ask.manner in ("raise", "fat-request")):
        answer.wrong = "200 and complete, though it cannot be"
    elif not response.complete and not ask.middle:
        answer.failed = f"200, broken after {len(response.body)} of {len(right)} bytes: {response.ending}"
