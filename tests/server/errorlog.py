"""Apache's error log as records, with a memory of what a test has declared.

After every test each record at level `warn` or above that nobody declared is a failure, and so
is a line that Apache did not write (a dying interpreter's last words, a panic, a sanitizer).
"""

import re
from dataclasses import dataclass

from waiting import until

LEVELS = ["emerg", "alert", "crit", "error", "warn", "notice", "info", "debug"]
LEVELS += [f"trace{n}" for n in range(1, 9)]

RECORD = re.compile(
    r"^\[(?P<time>[^\]]+)\] \[(?P<module>[^:\]]*):(?P<level>[a-z0-9]+)\]"
    r" \[pid (?P<pid>\d+)(?::tid (?P<tid>\d+))?\]"
    r"(?: \[client (?P<client>[^\]]+)\])?"
    r"(?: \[remote (?P<remote>[^\]]+)\])?"
    r" ?(?P<text>.*)$"
)


# What httpd itself may say, through no fault of anybody's: the event MPM's listener is closed by
# `stop` while the worker thread is about to hand it a connection; mod_http2 serves under prefork,
# one stream after the other, and says that it is not made for it.
HTTPD_NOISE = re.compile(
    "AH03092: process_lingering_close|AH03093: process_socket: apr_pollset_add failure"
    r"|AH10034: The mpm module \(prefork\.c\) is not supported by mod_http2"
)


@dataclass(frozen=True)
class Record:
    """One line of the log. `level` is `raw` where Apache did not write it.

    `client` is the address the line names, whether as client or (the C module) as remote.
    """

    line: str
    module: str
    level: str
    pid: int
    client: str
    text: str

    @classmethod
    def parse(cls, line):
        match = RECORD.match(line)
        if not match:
            return cls(line, "", "raw", 0, "", line)
        client = match["client"] or match["remote"] or ""
        return cls(line, match["module"], match["level"], int(match["pid"]), client, match["text"])

    @property
    def is_grave(self):
        """At `warn` or above, or not Apache's own."""
        if HTTPD_NOISE.search(self.text):
            return False
        return self.level == "raw" or LEVELS.index(self.level) <= LEVELS.index("warn")

    def __str__(self):
        return self.line


class ErrorLog:
    """One log file. Records before `forget()` are out of sight."""

    def __init__(self, path):
        self.path = path
        self._start = 0
        self._allowed = []

    def _text(self):
        try:
            with open(self.path, "rb") as file:
                file.seek(self._start)
                return file.read()
        except FileNotFoundError:
            return b""

    def text(self):
        """What was logged since the last `forget()`."""
        return self._text().decode("utf-8", "backslashreplace")

    def records(self, pattern="", level=None):
        """Records whose line matches `pattern` (a regular expression, searched for)."""
        whole = self.text()
        lines = whole.splitlines() if whole.endswith("\n") else whole.splitlines()[:-1]
        found = (Record.parse(line) for line in lines if line.strip())
        wanted = re.compile(pattern)
        return [
            record
            for record in found
            if wanted.search(record.line) and (level is None or record.level == level)
        ]

    def forget(self):
        """Start anew from the end of the file."""
        self._allowed = []
        try:
            with open(self.path, "rb") as file:
                self._start = file.seek(0, 2)
        except FileNotFoundError:
            self._start = 0

    def mark(self):
        """The place the log has come to; `since(mark)` gives what follows."""
        return self._start + len(self._text())

    def since(self, mark):
        """Text that was logged after `mark`."""
        return self._text()[mark - self._start :].decode("utf-8", "backslashreplace")

    def allow(self, *patterns):
        """Declare that records like these may appear until the end of the test."""
        self._allowed += [re.compile(pattern) for pattern in patterns]

    def expect(self, pattern, level=None, count=None, within=10.0):
        """Wait for a record like this, declare it, and return the matches.

        `count` asks for exactly so many, no more.
        """
        self.allow(pattern)
        wanted = count or 1
        until(
            lambda: len(self.records(pattern, level)) >= wanted,
            within,
            lambda: f"{wanted} x /{pattern}/ in the error log:\n{self.text()}",
        )
        found = self.records(pattern, level)
        if count is not None:
            assert len(found) == count, f"{len(found)} x /{pattern}/, not {count}:\n{self.text()}"
        return found

    def expect_traceback(self, last_line, within=10.0):
        """Wait for a traceback that ends with the line `last_line`; return its text.

        It must be there once. Its lines are declared, and so are the lines with a number of
        ours that announce it. The text comes without Apache's prefix.
        """
        found = self.expect(re.escape(last_line) + r"(\\n)*$", within=within)
        assert len(found) == 1, f"{len(found)} x {last_line!r}, not once:\n{self.text()}"
        records = self.records()
        whole = [found[0]]
        # What other processes, or this one at another level, wrote meanwhile stands between its lines.
        for record in reversed(records[: records.index(found[0])]):
            if (record.pid, record.level) != (found[0].pid, found[0].level):
                continue
            if not belongs_to_traceback(record, found[0]):
                break
            whole.insert(0, record)
        self.allow(*("^" + re.escape(record.line) + "$" for record in whole))
        return "\n".join(strip_prefix(record) for record in whole).replace("\\n", "\n")

    def unexpected(self):
        """Grave records nobody has declared."""
        return [
            record
            for record in self.records()
            if record.is_grave and not any(wanted.search(record.line) for wanted in self._allowed)
        ]


TRACEBACK_LINE = re.compile(
    r"^(Traceback \(most recent|The above exception was|During handling of the above|$"
    r"|\s+\S|[\w.]*(Error|Exception|Interrupt|Exit|Warning|Group)\b|.*WSGI0\d{3})"
)


def belongs_to_traceback(record, last):
    """Whether `record`, which precedes, is part of the report that ends with `last`."""
    return (
        (record.pid, record.level, record.client) == (last.pid, last.level, last.client)
        and TRACEBACK_LINE.match(strip_prefix(record)) is not None
    )


def strip_prefix(record):
    """The text of a record without what says where it is from: `[script ...]` or `[group ...]`."""
    return re.sub(r"^\[(script|group) [^\]]*\] ", "", record.text)
