"""sys.stdout, sys.stderr and sys.stdin.

What is written during a request goes to the log of the virtual host that serves it, and so does
`wsgi.errors`; what is written outside of any goes to the log of the process group. Where it goes
is decided write by write, in `native.write`, by the thread that writes.
"""

import io
import sys

from _mod_wsgi import native


class LogStream:
    """What a TextIOWrapper needs beneath it."""

    closed = False
    mode = "wb"

    def __init__(self, name):
        self.name = name

    def write(self, data):
        if isinstance(data, str):
            _warn_of_text()
            data = data.encode("utf-8", "replace")
        elif not isinstance(data, bytes):
            data = bytes(memoryview(data))
        native.write(data)
        return len(data)

    def writelines(self, lines):
        for line in lines:
            self.write(line)

    def flush(self):
        native.flush()

    def close(self):
        self.flush()

    def isatty(self):
        return False

    def readable(self):
        return False

    def seekable(self):
        return False

    def writable(self):
        return True

    def fileno(self):
        raise OSError(f"{self.name} goes to the Apache error log and has no descriptor")


_warned = False


def _warn_of_text():
    global _warned
    if not _warned:
        _warned = True
        import warnings

        warnings.warn("write bytes to the buffer of a log stream", DeprecationWarning, 4)


class LogText(io.TextIOWrapper):
    """Text on its way to the log. Closing it, as at the end of a redirection, leaves it usable."""

    def close(self):
        self.flush()


def open_log(name):
    # Not line_buffering: it would flush after each newline, and so cut the text behind it off. What
    # is written goes through at once, and `native.write` puts lines together.
    return LogText(LogStream(name), encoding="utf-8", errors="replace", write_through=True)


class Restricted:
    """Stands where a stream is forbidden. Any use raises."""

    __slots__ = ("_text",)

    def __init__(self, stream, directive):
        text = (
            f"mod_wsgi restricts {stream}: an application has no use for it under Apache. "
            f"{directive} Off in the Apache configuration lifts this."
        )
        object.__setattr__(self, "_text", text)

    def __getattribute__(self, name):
        raise OSError(object.__getattribute__(self, "_text"))

    def __setattr__(self, name, value):
        raise OSError(object.__getattribute__(self, "_text"))

    def __iter__(self):
        raise OSError(object.__getattribute__(self, "_text"))


def install(settings):
    sys.stderr = open_log("<stderr>")
    if settings["one_process"]:
        # httpd -X: somebody sits at the terminal, maybe with pdb.
        return
    if settings["restrict_stdout"]:
        sys.stdout = Restricted("sys.stdout", "WSGIRestrictStdout")
    else:
        sys.stdout = open_log("<stdout>")
    if settings["restrict_stdin"]:
        sys.stdin = Restricted("sys.stdin", "WSGIRestrictStdin")
