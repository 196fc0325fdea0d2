"""The module mod_wsgi where it needs no Apache, on every Python."""

import json

APP = """
    import json, os, sys
    import mod_wsgi
    seen = []
    def application(environ, start_response):
        value = globals()[environ["PATH_INFO"].lstrip("/")](environ)
        start_response("200 OK", [])
        return [json.dumps(value).encode()]
"""


def ask(w, path, name):
    answer = w.get(path, f"/{name}", environ={"PATH_INFO": f"/{name}"})
    assert answer.complete, (answer.log, answer.fail)
    return json.loads(answer.body)


def test_everything_is_listed_and_a_plain_import_loads_no_logging(worker, script):
    path = script(APP + """
    def listed(environ):
        names = [name for name in dir(mod_wsgi) if not name.startswith("_")]
        return names, "logging" in sys.modules
    def starred(environ):
        found = {}
        exec("from mod_wsgi import *", found)
        return sorted(set(found) - {"__builtins__"})
    def each(environ):
        return [name for name in dir(mod_wsgi) if not hasattr(mod_wsgi, name)]
    def handler(environ):
        import logging.config
        made = mod_wsgi.LogHandler
        logging.config.dictConfig({"version": 1, "handlers": {"apache": {"class": "mod_wsgi.LogHandler"}}})
        return [repr(made), issubclass(made, logging.Handler), made is mod_wsgi.LogHandler, hasattr(mod_wsgi, "nothing")]
    """)
    w = worker()
    names, logging_is_loaded = ask(w, path, "listed")
    assert not logging_is_loaded
    assert names == [
        "FileWrapper", "LogHandler", "RequestTimeout", "active_requests", "application_group", "client_disconnected", "event_callbacks",
        "maximum_processes", "process_group", "process_metrics", "request_data", "request_metrics", "send_interim", "server_metrics",
        "shutdown_callbacks", "signal_callbacks", "start_recording_metrics", "subscribe_events", "subscribe_shutdown", "subscribe_signals",
        "threads_per_process", "version"]
    assert ask(w, path, "starred") == names
    assert ask(w, path, "each") == []
    assert ask(w, path, "handler") == ["<class 'mod_wsgi.LogHandler'>", True, True, False]


def test_metrics_are_of_all_interpreters_and_a_forked_process_has_none(worker, script):
    path = script(APP + """
    def start(environ):
        return mod_wsgi.start_recording_metrics()
    def counted(environ):
        return mod_wsgi.request_metrics()["request_count"]
    def forked(environ):
        reader, writer = os.pipe()
        pid = os.fork()
        if not pid:
            mod_wsgi.start_recording_metrics()
            os.write(writer, repr((mod_wsgi.request_metrics(), mod_wsgi.process_metrics())).encode())
            os._exit(0)
        os.waitpid(pid, 0)
        return os.read(reader, 1000).decode()
    """)
    w = worker()
    ask(w, path, "start")
    ask(w, path, "counted")
    other = w.get(path, "/counted", environ={"PATH_INFO": "/counted"}, group="other")
    assert other.body == b"1"
    assert ask(w, path, "forked") == "(None, None)"
    assert ask(w, path, "counted") == 2


def test_processor_time_and_waits_are_told_of_each_request(worker, script):
    path = script(APP + """
    @mod_wsgi.subscribe_events
    def record(name, **payload):
        if name == "request_finished":
            seen.append([payload["cpu_time"], payload["gil_wait_count"], abs(payload["cpu_time"] - payload["cpu_user_time"] - payload["cpu_system_time"]) < 1e-6])
    def compute(environ):
        import time
        until = time.thread_time() + 0.05
        while time.thread_time() < until:
            pass
    def told(environ):
        return seen
    """)
    w = worker()
    ask(w, path, "compute")
    (spent, waits, is_sum), = ask(w, path, "told")
    assert 0.04 < spent < 5 and waits >= 0 and is_sum


def test_subscribers_harm_nobody_and_are_bounded(worker, script):
    path = script(APP + """
    import asyncio
    class Own(BaseException):
        def __str__(self):
            raise RuntimeError
    @mod_wsgi.subscribe_events
    def raising(name, **payload):
        raise (asyncio.CancelledError, Own, KeyboardInterrupt)[len(seen) % 3]
    @mod_wsgi.subscribe_events
    def last(name, **payload):
        seen.append(name)
    def told(environ):
        return seen
    def many(environ):
        for number in range(2000):
            mod_wsgi.subscribe_events(last)
            assert mod_wsgi.subscribe_signals(number) is number
        found = len(mod_wsgi.event_callbacks), len(mod_wsgi.signal_callbacks)
        del mod_wsgi.event_callbacks[2:], mod_wsgi.signal_callbacks[:]
        return found
    """)
    w = worker()
    for _ in range(2):
        ask(w, path, "told")
    assert ask(w, path, "told")[:6] == ["request_started", "response_started", "request_finished"] * 2
    assert ask(w, path, "many") == [1000, 1000]
    # Room again: what is logged is logged once.
    assert ask(w, path, "many") == [1000, 1000]

