"""The `mod_wsgi` module that applications import, and the `apache` module beside it."""

import sys
from operator import index
from types import ModuleType

from _mod_wsgi import log_id, native, report, streams


class RequestTimeout(BaseException):
    """Raised in a thread whose request has taken longer than request-timeout allows."""

    __module__ = "mod_wsgi"


class FileWrapper:
    """A file as a response. One that is a regular file on disk, and is returned to the server as
    it is, goes to Apache as a descriptor; any other is read block by block."""

    __module__ = "mod_wsgi"

    def __init__(self, filelike, blksize=8192):
        blksize = index(blksize)
        if blksize < 0:
            raise ValueError("blksize must not be negative")
        self._filelike = filelike
        self._blksize = blksize
        self._closed = False

    def _open(self):
        if self._closed:
            raise ValueError("the file wrapper is closed")
        return self._filelike

    @property
    def filelike(self):
        return self._open()

    @property
    def blksize(self):
        self._open()
        return self._blksize

    def __iter__(self):
        self._open()
        return self

    def __next__(self):
        block = self._open().read(self._blksize)
        if not isinstance(block, bytes):
            raise TypeError(f"the file's read() must return bytes, not {type(block).__name__}")
        if not block:
            raise StopIteration
        return block

    def close(self):
        if self._closed:
            return
        self._closed = True
        filelike, self._filelike = self._filelike, None
        try:
            close = filelike.close
        except AttributeError:
            return
        try:
            close()
        except Exception:
            pass


def stretch(wrapper, wanted):
    """Descriptor, offset and length to send where the wrapper's file is a regular one; None where
    it has to be read. `wanted` is the declared Content-Length, or None."""
    import os
    import stat

    try:
        filelike = wrapper.filelike
        descriptor = filelike.fileno()
        offset = filelike.tell()
        if not isinstance(descriptor, int) or not isinstance(offset, int) or offset < 0:
            return None
        facts = os.fstat(descriptor)
    except Exception:
        return None
    if not stat.S_ISREG(facts.st_mode):
        return None
    rest = max(facts.st_size - offset, 0)
    return descriptor, offset, rest if wanted is None else min(wanted, rest), wanted is None


# Each a list whose one item is what the module's attribute is: applications may set that.
_event_callbacks = [[]]
_shutdown_callbacks = [[]]
_signal_callbacks = [[]]
_active_requests = {}


# Most callbacks of one kind.
_MOST_CALLBACKS = 1000
_full = set()


def _subscribe(holder, callback, name):
    callbacks = holder[0]
    if len(callbacks) < _MOST_CALLBACKS:
        callbacks.append(callback)
    elif name not in _full:
        _full.add(name)
        text = (
            f"{log_id.TOO_MANY_CALLBACKS}: {name}() was called more than {_MOST_CALLBACKS} times in"
            " one interpreter: the callback is ignored, and so are further ones. Subscribe once,"
            " where the module is imported, and not in each request."
        )
        native.log(3, text)
    return callback


def subscribe_events(callback):
    """Has `callback(name, **payload)` called for each event. Returns it, so it decorates."""
    return _subscribe(_event_callbacks, callback, "subscribe_events")


def subscribe_shutdown(callback):
    """Has `callback(name, **payload)` called when the process is about to leave."""
    return _subscribe(_shutdown_callbacks, callback, "subscribe_shutdown")


def subscribe_signals(callback):
    """Has `callback(name, **payload)` called for SIGHUP and SIGUSR2."""
    return _subscribe(_signal_callbacks, callback, "subscribe_signals")


def request_data():
    """A dict for whatever belongs to the request that this thread serves."""
    return native.request_data()


def client_disconnected():
    """Whether the client of the request that this thread serves has closed its connection, which an
    application may ask that computes for long. Known within a second."""
    return native.client_disconnected()


def send_interim(status, headers):
    """Sends an interim response, 102 or 103, before the response proper. Returns whether it was
    sent: not to a client of HTTP/1.0, and not once the response has begun."""
    return native.send_interim(status, headers)


# RequestTimeout may be raised in these to end the request: it is no fault of the callback.
_INTERRUPTIBLE = ("request_started", "response_started")


def publish(holder, event, payload):
    """Calls each callback; what they return is merged for those after them."""
    callbacks = holder[0]
    for callback in list(callbacks) if isinstance(callbacks, list) else ():
        try:
            more = callback(event, **payload)
        except SystemExit:
            text = f"{log_id.CALLBACK_EXITED}: a callback for the event {event} called sys.exit(): ignored"
            native.log(3, text)
        except BaseException as error:
            if isinstance(error, RequestTimeout) and event in _INTERRUPTIBLE:
                raise
            report.log(f"{log_id.CALLBACK_RAISED}: a callback for {event} raised", error)
        else:
            if isinstance(more, dict):
                payload.update(more)


def publish_event(event, payload):
    publish(_event_callbacks, event, payload)


def stopping(reason):
    payload = {"shutdown_reason": reason}
    publish(_event_callbacks, "process_stopping", payload)
    publish(_shutdown_callbacks, "process_stopping", payload)


def signalled(name, number):
    """The process got a signal that is the application's."""
    payload = {"signame": name, "signum": number}
    publish(_event_callbacks, "process_signal", payload)
    publish(_signal_callbacks, "process_signal", payload)


_handler_class = None


def _log_handler():
    global _handler_class
    if _handler_class is not None:
        return _handler_class
    import logging

    class LogHandler(logging.Handler):
        """Passes log records on with their own level."""

        __module__ = "mod_wsgi"
        __qualname__ = "LogHandler"

        def emit(self, record):
            try:
                text = self.format(record)
            except Exception:
                self.handleError(record)
                return
            number = record.levelno
            level = 2 if number >= 50 else 3 if number >= 40 else 4 if number >= 30 else 6
            native.log(level if number >= 20 else 7, text)

    _handler_class = LogHandler
    return LogHandler


def keep_levels():
    """Has records that reach no handler, for want of any, keep their level. To be called where
    application code may have imported `logging`, which is too large to import for nothing."""
    logging = sys.modules.get("logging")
    default = getattr(logging, "_defaultLastResort", None)
    if default is not None and logging.lastResort is default:
        logging.lastResort = _log_handler()(logging.WARNING)


def level_warnings():
    """Has warnings keep their level. Where the application has put something of its own into
    `warnings.showwarning`, or in place of sys.stderr, it gets them as ever."""
    import warnings

    usual = warnings.showwarning

    def showwarning(message, category, filename, lineno, file=None, line=None):
        if file is not None or not isinstance(sys.stderr, streams.LogText):
            usual(message, category, filename, lineno, file, line)
        else:
            text = warnings.formatwarning(message, category, filename, lineno, line)
            native.log(4, text.rstrip("\n"))

    warnings.showwarning = showwarning


_threads = 0


def start_recording_metrics():
    """Records metrics of the process from now on, for request_metrics() and process_metrics().
    Whichever interpreter calls it first does so for all."""
    native.start_recording(_threads)


def request_metrics():
    """Metrics of the requests that have ended since the last call, or since recording began. None
    where nothing is recorded. There is one such interval for the whole process."""
    return native.request_metrics()


def process_metrics():
    """Metrics of the process since it came up. None where nothing is recorded."""
    return native.process_metrics(_threads)


def server_metrics():
    """What Apache's own processes do: not known here, for none of its memory is."""
    return None


class _Public(ModuleType):
    """A module that notices when somebody puts another list in place of one of its own."""

    def __setattr__(self, name, value):
        super().__setattr__(name, value)
        holder = _holders.get(name)
        if holder is not None:
            holder[0] = value


_holders = {
    "event_callbacks": _event_callbacks,
    "shutdown_callbacks": _shutdown_callbacks,
    "signal_callbacks": _signal_callbacks,
}


def build(settings):
    """The public module."""
    global _threads
    _threads = settings["threads"]
    public = _Public("mod_wsgi", "The server this application runs in.")
    public.version = settings["module_version"]
    public.process_group = settings["process_group"]
    public.application_group = settings["application_group"]
    public.maximum_processes = settings["processes"]
    public.threads_per_process = settings["threads"]
    public.FileWrapper = FileWrapper
    public.RequestTimeout = RequestTimeout
    public.subscribe_events = subscribe_events
    public.subscribe_shutdown = subscribe_shutdown
    public.subscribe_signals = subscribe_signals
    public.event_callbacks = _event_callbacks[0]
    public.shutdown_callbacks = _shutdown_callbacks[0]
    public.signal_callbacks = _signal_callbacks[0]
    public.request_data = request_data
    public.client_disconnected = client_disconnected
    public.send_interim = send_interim
    public.active_requests = _active_requests
    public.start_recording_metrics = start_recording_metrics
    public.request_metrics = request_metrics
    public.process_metrics = process_metrics
    public.server_metrics = server_metrics

    def attribute(name):
        # logging is a large import that many applications never need.
        if name == "LogHandler":
            public.LogHandler = _log_handler()
            return public.LogHandler
        raise AttributeError(f"module 'mod_wsgi' has no attribute {name!r}")

    names = sorted({name for name in vars(public) if not name.startswith("_")} | {"LogHandler"})
    # `from mod_wsgi import *` asks for what is listed only.
    public.__all__ = names
    hidden = ("__getattr__", "__dir__", "__all__")
    public.__getattr__ = attribute
    public.__dir__ = lambda: sorted({*vars(public), "LogHandler"}.difference(hidden))
    return public


def build_apache(settings):
    apache = ModuleType("apache", "The Apache server in front of this application.")
    apache.version = settings["apache_version"]
    apache.maximum_processes = settings["mpm_processes"]
    apache.threads_per_process = settings["mpm_threads"]
    apache.description = settings["server_description"]
    apache.mpm_name = settings["mpm_name"]
    apache.build_date = settings["build_date"]
    return apache


def assign(group):
    """This interpreter now serves the application group."""
    sys.modules["mod_wsgi"].application_group = group
