"""Clients that go on asking while a test does something to the server."""

import threading
import time

from client import Broken, Connection


class Load:
    """`clients` threads with keep-alive connections; every answer is judged by `accept`.

    A stale keep-alive connection that the server closed before it read the request is not a
    failure: any client would ask again. Everything else is kept in `failures`.
    """

    def __init__(self, server, clients=4, path="/", accept=None, headers=()):
        self.server = server
        self.path = path
        self.headers = headers
        self.accept = accept or (lambda answer: answer.status == 200 and answer.complete)
        self.failures = []
        self.answers = 0
        self.longest = 0.0
        # Longest time without an answer to anybody.
        self.gap = 0.0
        self._last = None
        self._stop = threading.Event()
        self._progress = threading.Condition()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(clients)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        self.more(len(self._threads))
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive(), "a client of the load hangs"

    def more(self, count, within=20.0):
        """Wait until `count` more answers have come."""
        with self._progress:
            goal = self.answers + count
            assert self._progress.wait_for(
                lambda: self.answers >= goal or self.failures, within
            ), f"only {self.answers} of {goal} answers within {within:g} s"

    def _run(self):
        connection = None
        fresh = True
        while not self._stop.is_set():
            start = time.monotonic()
            try:
                if connection is None:
                    connection, fresh = Connection(self.server.port), True
                connection.send_request("GET", self.path, self.headers)
                answer = connection.response()
            except (Broken, OSError) as fault:
                if connection is not None:
                    connection.close()
                connection = None
                seen = getattr(fault, "seen", b"")
                if fresh or seen:
                    self._note(f"{fault!r}")
                continue
            fresh = False
            self.longest = max(self.longest, time.monotonic() - start)
            self._note(None if self.accept(answer) else f"{answer.status} {answer.body[:200]!r}")
            if answer.ending or answer.get("Connection", "").lower() == "close":
                connection.close()
                connection = None
        if connection is not None:
            connection.close()

    def _note(self, failure):
        with self._progress:
            if failure is None:
                self.answers += 1
                now = time.monotonic()
                self.gap = max(self.gap, now - (self._last or now))
                self._last = now
            else:
                self.failures.append(failure)
            self._progress.notify_all()
