"""sys.stdout, sys.stderr, sys.stdin and wsgi.errors.

What is written during a request goes to the log of the virtual host that serves it; what is written
outside of any goes to the log of the process group. Where it goes is decided write by write, in
`native.write`, by the thread that writes. `wsgi.errors` goes to its request, whoever writes.
"""

import io
import sys

from _mod_wsgi import native


class LogStream(io.BufferedIOBase):
    """What a TextIOWrapper needs beneath it. `target` has functions `write`, for bytes, and `flush`."""

    closed = False
    mode = "wb"

    def __init__(self, name, target, descriptor):
        self.name = name
        self._target = target
        self._descriptor = descriptor

    def write(self, data):
        if isinstance(data, str):
            _warn_of_text()
            data = data.encode("utf-8", "replace")
        elif not isinstance(data, bytes):
            data = bytes(memoryview(data))
        self._target.write(data)
        return len(data)

    def writelines(self, lines):
        for line in lines:
            self.write(line)

    def flush(self):
        self._target.flush()

    def close(self):
        """Leaves it usable, and says nothing of a request that is over, as Python closes what it
        throws away."""
        try:
            self.flush()
        except RuntimeError:
            pass

    def isatty(self):
        return False

    def readable(self):
        return False

    def seekable(self):
        return False

    def writable(self):
        return True

    def fileno(self):
        """For those that write past Python, as faulthandler and programs that are started do. What
        they write is of no request."""
        if self._descriptor is None:
            raise io.UnsupportedOperation(
                f"{self.name} goes to the log of the request and has no descriptor"
            )
        return self._descriptor


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
        self.buffer.close()


class RequestText(LogText):
    """`wsgi.errors`. The next request may get it, if the application keeps nothing of it: unless it
    is no longer what it was."""

    def reconfigure(self, **more):
        self.buffer._target.keep()
        super().reconfigure(**more)

    def detach(self):
        self.buffer._target.keep()
        return super().detach()


def _open(kind, stream):
    # Not line_buffering: it would flush after each newline, and so cut the text behind it off. What
    # is written goes through at once, and the target puts lines together.
    text = kind(stream, encoding="utf-8", errors="replace", write_through=True)
    # As Python's own streams have it.
    text.mode = "w"
    return text


def open_log(name, descriptor):
    return _open(LogText, LogStream(name, native, descriptor))


def open_errors(target):
    return _open(RequestText, LogStream("<wsgi.errors>", target, None))


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
    sys.stderr = open_log("<stderr>", 2)
    if settings["one_process"]:
        # httpd -X: somebody sits at the terminal, maybe with pdb.
        return
    if settings["restrict_stdout"]:
        sys.stdout = Restricted("sys.stdout", "WSGIRestrictStdout")
    else:
        sys.stdout = open_log("<stdout>", 1)
    if settings["restrict_stdin"]:
        sys.stdin = Restricted("sys.stdin", "WSGIRestrictStdin")
