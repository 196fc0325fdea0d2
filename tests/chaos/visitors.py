"""The clients of the chaos run: threads that ask one thing after the other.

What each asks follows from the seed and its number; when, from the server.
"""

import random
import threading
import time

import asks
from client import Connection


class Visitors:
    """`count` clients, each a thread with a kept connection, for the length of a `with` block."""

    def __init__(self, port, groups, file, seed, count, prefix="", think=0.004, longest=30.0, secure=None):
        self.port = port
        self.secure = secure  # The port for TLS: every second client speaks HTTP/2 there, the others HTTP/1.1.
        self.groups = groups
        self.file = file
        self.prefix = prefix  # Of the names, which are used once in a run.
        self.longest = longest
        self.think = think
        self.trouble = []  # Answers that are wrong, failed or stale.
        self.aborted = set()  # Names whose body was never sent to its end.
        self.asked = 0
        self.slowest = None
        self._seed = seed
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._progress = threading.Condition(self._lock)
        self._threads = [threading.Thread(target=self._visit, args=(n,), daemon=True) for n in range(count)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(self.longest * 2)
            assert not thread.is_alive(), "a client hangs"

    def more(self, count, within=60.0):
        """Wait until so many more have been asked."""
        with self._progress:
            goal = self.asked + count
            assert self._progress.wait_for(lambda: self.asked >= goal, within), f"only {self.asked} of {goal}"

    def _visit(self, number):
        dice = random.Random(f"{self._seed} client {number}")
        connection, turn = None, 0
        without, connect = (), Connection
        if self.secure is not None:
            import secure  # h2 is not everywhere

            without, connect = ((), secure.Http1) if number % 2 else (secure.NOT_OVER_HTTP2, secure.Http2)
        while not self._stop.is_set():
            turn += 1
            ask = asks.plan(dice, f"{self.prefix}{number}-{turn}", dice.choice(self.groups), without)
            slow = ask.manner == "slow-read"
            fresh = connection is None or slow
            if slow and connection is not None:
                connection.close()
            try:
                if fresh:
                    if slow:
                        connection = asks.Slow(self.port, timeout=self.longest)
                    else:
                        connection = connect(self.secure or self.port, timeout=self.longest)
            except OSError as fault:
                now = time.monotonic()
                self._note(asks.Answer(ask, now, now, failed=f"no connection: {fault!r}"))
                connection = None
                continue
            answer = asks.have(ask, connection, fresh, self.file)
            self._note(answer)
            if slow or not answer.reusable:
                connection.close()
                connection = None
            self._stop.wait(dice.random() * 2 * self.think)
        if connection is not None:
            connection.close()

    def _note(self, answer):
        with self._progress:
            if answer.ask.manner == "abort-upload":
                self.aborted.add(answer.ask.name)
            if answer.wrong or answer.failed:
                if answer.ask.manner not in asks.ABORTS or answer.wrong:
                    self.trouble.append(answer)
            if not answer.stale and answer.ask.manner not in asks.ABORTS:
                self.asked += 1
            if answer.ask.manner not in ("slow-read", "slow-send") and (
                self.slowest is None or answer.end - answer.start > self.slowest.end - self.slowest.start
            ):
                self.slowest = answer
            self._progress.notify_all()
