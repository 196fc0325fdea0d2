"""Application groups and their interpreters, the mod_wsgi module, threads."""

import threading
import time

import wire
from harness import eventually

WHO = """
    import mod_wsgi, threading, sys
    count = 0
    local = threading.local()
    def application(environ, start_response):
        global count
        count += 1
        local.n = getattr(local, "n", 0) + 1
        try:
            import _interpreters as i
        except ImportError:
            import _xxsubinterpreters as i
        number = i.get_current()
        number = number[0] if isinstance(number, tuple) else int(number)
        body = repr((number, mod_wsgi.application_group, count, local.n)).encode()
        start_response("200 OK", [])
        return [body]
"""


def who(w, path, group=""):
    answer = w.get(path, group=group)
    assert answer.complete, (answer, w.log)
    return eval(answer.body)


def test_the_first_group_has_the_main_interpreter_and_others_their_own(worker, script):
    path = script(WHO)
    w = worker(threads=1)
    assert who(w, path, "one") == (0, "one", 1, 1)
    two = who(w, path, "two")
    assert two[0] != 0 and two[1:] == ("two", 1, 1)
    three = who(w, path, "three")
    assert three[0] not in (0, two[0]) and three[1:] == ("three", 1, 1)
    assert who(w, path, "one") == (0, "one", 2, 2)
    assert who(w, path, "two") == (two[0], "two", 2, 2)
    # %{GLOBAL} is the main interpreter always.
    assert who(w, path, "") == (0, "one", 3, 3)


def test_where_global_is_reachable_no_name_gets_the_main_interpreter(worker, script):
    path = script(WHO)
    w = worker(global_reachable=True)
    assert who(w, path, "one")[0] != 0
    assert who(w, path, "")[:2] == (0, "")


def test_preloading_chooses_the_first_group(worker, script):
    path, other = script(WHO), script(WHO, "other.wsgi")
    w = worker(preload=[(path, "one"), (other, "two")])
    assert who(w, path, "one")[:2] == (0, "one")
    assert who(w, other, "two")[0] != 0


def test_threads_keep_their_locals_in_every_interpreter(worker, script):
    path = script("""
    import threading
    local = threading.local()
    seen = {}
    def application(environ, start_response):
        local.n = getattr(local, "n", 0) + 1
        seen[threading.get_ident()] = local.n
        start_response("200 OK", [])
        return [repr(seen).encode()]
    """)
    w = worker(threads=3)
    for group in ("one", "two", "three"):
        for _ in range(60):
            seen = eval(w.get(path, group=group).body)
        assert sum(seen.values()) == 60 and len(seen) <= 3


def test_groups_run_side_by_side_under_load(worker, script):
    path = script("""
    import json, re, decimal, datetime, threading
    def application(environ, start_response):
        data = json.loads(json.dumps({"group": environ["mod_wsgi.application_group"]}))
        decimal.Decimal("1.1") + 1
        re.match("(a+)+b", "aaaa")
        datetime.datetime.now()
        t = threading.Thread(target=lambda: None); t.start(); t.join()
        environ["wsgi.input"].read()
        start_response("200 OK", [])
        return [data["group"].encode()]
    """)
    w = worker(threads=4)
    groups = ["one", "two", "three", ""]
    wrong = []

    def many(group):
        for _ in range(150):
            answer = w.get(path, group=group, environ={"mod_wsgi.application_group": group})
            if answer.body.decode() != group:
                wrong.append((group, answer))

    threads = [threading.Thread(target=many, args=(group,)) for group in groups * 2]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert wrong == []


def test_callbacks_through_pygilstate_work_in_every_interpreter(worker, script):
    path = script("""
    import ctypes
    CALL = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)
    def application(environ, start_response):
        compare = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))
        array = (ctypes.c_int * 5)(5, 3, 1, 4, 2)
        libc = ctypes.CDLL(None)
        libc.qsort(array, 5, ctypes.sizeof(ctypes.c_int), compare(lambda a, b: a[0] - b[0]))
        start_response("200 OK", [])
        return [repr(list(array)).encode()]
    """)
    w = worker(threads=2)
    for group in ("one", "two", "three", "one", "two"):
        assert w.get(path, group=group).body == b"[1, 2, 3, 4, 5]"


def test_too_many_groups_are_refused(worker, script):
    path = script(WHO)
    w = worker(threads=1)
    assert who(w, path, "first")[0] == 0
    for i in range(20):
        who(w, path, f"group{i}")
    assert w.threads() < 40


def test_the_main_thread_is_the_one_that_set_python_up(worker, script):
    path = script("""
    import threading
    def application(environ, start_response):
        start_response("200 OK", [])
        return [repr((threading.main_thread() is threading.current_thread(),
                      threading.main_thread().native_id)).encode()]
    """)
    w = worker()
    assert eval(w.get(path).body) == (False, w.pid)


def test_the_module(worker, script):
    path = script("""
    import sys
    import mod_wsgi, apache
    from mod_wsgi import version
    def application(environ, start_response):
        m = mod_wsgi
        facts = [m.version, m.process_group, m.application_group, m.maximum_processes,
                 m.threads_per_process, issubclass(m.RequestTimeout, BaseException),
                 issubclass(m.RequestTimeout, Exception), m.event_callbacks, m.shutdown_callbacks,
                 m.signal_callbacks, apache.version, apache.mpm_name, apache.maximum_processes,
                 apache.threads_per_process, hasattr(m, "nothing"), m.subscribe_events(len) is len]
        m.event_callbacks.clear()
        start_response("200 OK", [])
        return [repr(facts).encode()]
    """)
    facts = eval(worker(threads=2, processes=3).get(path, group="g").body)
    assert facts == [(6, 1, 1), "shop", "g", 3, 2, True, False, [], [], [], (2, 4, 71), "event", 16,
                     25, False, True]


def test_request_data_belongs_to_the_thread_that_serves(worker, script):
    path = script("""
    import mod_wsgi, threading
    def application(environ, start_response):
        data = mod_wsgi.request_data()
        data["n"] = 1
        id = environ["mod_wsgi.request_id"]
        outside = []
        def work():
            try:
                mod_wsgi.request_data()
            except RuntimeError:
                outside.append(True)
        t = threading.Thread(target=work); t.start(); t.join()
        facts = (mod_wsgi.request_data() is data, mod_wsgi.active_requests[id] is data,
                 len(mod_wsgi.active_requests), outside)
        start_response("200 OK", [])
        return [repr(facts).encode()]
    """)
    w = worker()
    for _ in range(3):
        assert w.get(path).body == b"(True, True, 1, [True])"


def test_events_and_their_payloads(worker, script):
    path = script("""
    import mod_wsgi
    events = []
    @mod_wsgi.subscribe_events
    def note(name, **payload):
        events.append((name, sorted(payload), payload.get("status")))
        if name == "request_started":
            assert payload["request_environ"]["mod_wsgi.request_id"] == payload["request_id"]
            inner = payload["application_object"]
            def outer(environ, start_response):
                environ["outer"] = True
                return inner(environ, start_response)
            return {"application_object": outer}
    @mod_wsgi.subscribe_events
    def bad(name, **payload):
        raise KeyError("in callback")
    def application(environ, start_response):
        assert environ["outer"]
        if environ["PATH_INFO"] == "/fail":
            raise ValueError
        body = repr(events).encode()
        start_response("200 OK", [])
        return [body]
    """)
    w = worker(threads=1)
    assert w.get(path, "/fail").fail[0] == 500
    answer = w.get(path)
    events = eval(answer.body)
    assert [event[0] for event in events] == [
        "request_started", "request_exception", "request_finished", "request_started"]
    assert events[2][2] == 500
    assert {"thread_id", "server_pid", "application_object", "callable_object", "daemon_start",
            "request_data"} <= set(events[0][1])
    assert {"input_reads", "output_length", "application_time", "gil_wait_time"} <= set(events[2][1])
    assert "exception_info" in events[1][1]
    assert "KeyError: 'in callback'" in answer.log and "WSGI0112" in answer.log


def test_signal_handlers_are_refused_quietly(worker, script):
    source = """
    import signal, os
    def handler(*args): pass
    def application(environ, start_response):
        result = signal.signal(signal.SIGTERM, handler) is handler
        pid = os.fork()
        if pid == 0:
            # A process of the application's own may do as it likes.
            signal.signal(signal.SIGUSR2, handler)
            os._exit(7 if signal.getsignal(signal.SIGUSR2) is handler else 8)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        start_response("200 OK", [])
        return [repr((result, status)).encode()]
    """
    path = script(source)
    w = worker()
    answer = w.get(path)
    # A fork from a thread makes that thread the main one, so signal() works there.
    assert eval(answer.body) == (True, 7)
    assert [level for level, _ in answer.logs] == [6] and "ignored" in answer.log
    w.process.terminate()
    assert w.wait() == 0


def test_signal_handlers_where_they_are_not_restricted(worker, script):
    path = script("""
    import signal
    original = signal.signal
    def application(environ, start_response):
        start_response("200 OK", [])
        return [repr(signal.signal.__module__).encode()]
    """)
    assert worker(restrict_signal=False).get(path).body == b"'signal'"


def test_an_extension_that_wants_the_main_interpreter_is_explained(worker, script, tmp_path):
    (tmp_path / "picky.py").write_text(
        'raise ImportError("PyO3 modules may only be initialized once per interpreter process")\n')
    path = script("import picky\n")
    w = worker(python_path=[tmp_path], global_reachable=True)
    answer = w.get(path, group="one")
    assert "WSGI0471" in answer.log and "WSGIApplicationGroup %{GLOBAL}" in answer.log


def test_sub_interpreters_may_start_all_at_once(worker, script):
    """Up to Python 3.12 an interpreter whose last thread state is deleted can't have another: each is
    made on a thread that leaves one behind. (Seen as "thread state already initialized".)"""
    path = script("""
    import threading
    def application(environ, start_response):
        threading.Thread(target=int).start()
        start_response("200 OK", [])
        return [b"x"]
    """)
    for round in range(8):
        w = worker(threads=2, preload=[(str(path), "g1"), (str(path), "other")] if round % 2 else ())
        bodies = []

        def ask(number):
            for step in range(5):
                bodies.append(w.get(path, group=f"g{(number * 3 + step) % 5}").body)

        clients = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        assert bodies == [b"x"] * 30, w.log
        w.close()
        assert "Fatal" not in w.log
