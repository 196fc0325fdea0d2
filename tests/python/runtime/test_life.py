"""Coming up, draining, leaving."""

import os
import signal
import socket
import threading
import time

import pytest
import wire
from harness import LIMIT, Worker, eventually

HELLO = """
    import os, time
    def application(environ, start_response):
        time.sleep(float(environ["QUERY_STRING"] or 0))
        start_response("200 OK", [])
        return [b"hello"]
"""


def status(w):
    return dict(line.rstrip("\n").split(":\t", 1) for line in open(f"/proc/{w.pid}/status"))


def test_title_and_descriptors(worker, script):
    path = script(HELLO)
    w = worker(display_name="(wsgi:shop)")
    assert w.get(path).body == b"hello"
    title = open(f"/proc/{w.pid}/cmdline").read().rstrip("\0")
    assert title == "(wsgi:shop)"
    # Four pipes of its own: signals, threads that wake the main one, the end of the reception, and
    # stacks of threads; and what the reception waits with.
    expected = {0: "/dev/null", 1: "pipe", 2: "pipe", 3: "socket", 4: "socket"}
    own = sorted(["pipe"] * 8 + ["anon_inode"])

    def as_it_should():
        found = {fd: target.split(":")[0] for fd, target in w.descriptors().items()}
        others = [found.pop(fd) for fd in sorted(found) if fd > 4]
        return found == expected and sorted(others) == own
    eventually(as_it_should)


def test_children_of_the_application_inherit_none_of_it(worker, script):
    path = script("""
    import subprocess, sys
    CODE = "import os; print(sorted(os.listdir('/proc/self/fd')))"
    def application(environ, start_response):
        out = subprocess.run([sys.executable, "-c", CODE], capture_output=True, close_fds=False)
        start_response("200 OK", [])
        return [out.stdout + out.stderr]
    """)
    # 3 is the directory that is being listed.
    assert worker().get(path).body == b"['0', '1', '2', '3']\n"


def test_drain_finishes_what_runs_and_refuses_what_has_not_begun(worker, script):
    path = script(HELLO)
    w = worker(threads=2)
    with w.send(path, environ={"QUERY_STRING": "0.6"}) as running:
        time.sleep(0.2)
        w.control.send(wire.drain(5000))
        # Time to leave accept. A connection made now waits in the listener for a successor.
        time.sleep(0.1)
        with w.send(path) as later:
            assert w.answer(running).body == b"hello"
            assert w.wait() == 0
            later.settimeout(0.05)
            with pytest.raises(TimeoutError):
                later.recv(1)


def test_idle_workers_drain_at_once(worker, script):
    w = worker(threads=15)
    begun = time.monotonic()
    w.control.send(wire.drain(15000))
    assert w.wait() == 0
    assert time.monotonic() - begun < 1


def test_drain_has_an_end(worker, script):
    path = script(HELLO)
    w = worker()
    with w.send(path, environ={"QUERY_STRING": "60"}):
        time.sleep(0.2)
        begun = time.monotonic()
        w.control.send(wire.drain(500))
        assert w.wait() == 0
        assert 0.4 < time.monotonic() - begun < 2


def test_stop_runs_hooks_in_every_interpreter_and_leaves(worker, script):
    path = script("""
    import atexit, mod_wsgi, sys
    name = mod_wsgi.application_group
    atexit.register(lambda: print("atexit", name))
    @mod_wsgi.subscribe_shutdown
    def bye(event, **payload):
        print(event, payload, name)
    @mod_wsgi.subscribe_events
    def also(event, **payload):
        if event == "process_stopping":
            print("event", name)
    def application(environ, start_response):
        start_response("200 OK", [])
        return [b"x"]
    """)
    w = worker()
    for group in ("one", "two"):
        assert w.get(path, group=group).body == b"x"
    w.control.send(wire.stop(5000))
    assert w.wait() == 0
    for group in ("one", "two"):
        assert f"atexit {group}" in w.log and f"event {group}" in w.log
        assert f"process_stopping {{'shutdown_reason': 'shutdown_signal'}} {group}" in w.log


def test_without_destroy_interpreter_there_is_no_atexit(worker, script):
    path = script("""
    import atexit, mod_wsgi
    atexit.register(lambda: print("atexit"))
    mod_wsgi.subscribe_shutdown(lambda event, **payload: print("hook"))
    def application(environ, start_response):
        start_response("200 OK", [])
        return [b"x"]
    """)
    w = worker(destroy_interpreter=False)
    assert w.get(path).body == b"x"
    w.control.send(wire.stop(5000))
    assert w.wait() == 0
    assert w.log == "hook\n"


@pytest.mark.parametrize("hang", [
    "time.sleep(60)", "while True: pass", "ctypes.PyDLL(None).sleep(60)"])
def test_a_hook_that_hangs_does_not_hold_the_process(worker, script, hang):
    path = script(f"""
    import ctypes, mod_wsgi, time
    @mod_wsgi.subscribe_shutdown
    def bye(event, **payload):
        {hang}
    def application(environ, start_response):
        start_response("200 OK", [])
        return [b"x"]
    """)
    w = worker()
    assert w.get(path).body == b"x"
    begun = time.monotonic()
    w.control.send(wire.stop(500))
    assert w.wait() == 0
    assert 0.4 < time.monotonic() - begun < 2
    assert "WSGI0304" in w.log


@pytest.mark.parametrize("busy", [False, True])
def test_without_supervisor_it_leaves_within_a_second(worker, script, busy):
    path = script("""
    import ctypes
    def application(environ, start_response):
        ctypes.PyDLL(None).sleep(60)
    """)
    w = worker(display_name="x")
    if busy:
        w.send(path)
        time.sleep(0.3)
    begun = time.monotonic()
    w.control.close()
    w.wait()
    assert time.monotonic() - begun < 1.2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_to_stop(worker, script, number):
    path = script(HELLO)
    w = worker()
    assert w.get(path).body == b"hello"
    w.process.send_signal(number)
    assert w.wait() == 0


def test_sigusr1_asks_for_a_successor_and_goes_on(worker, script):
    path = script(HELLO)
    w = worker()
    w.process.send_signal(signal.SIGUSR1)
    assert w.hear() == ("leaving", wire.SIGNAL)
    assert w.get(path).body == b"hello"


def test_maximum_requests_asks_once_and_goes_on(worker, script):
    path = script(HELLO)
    w = worker(maximum_requests=5)
    for _ in range(4):
        assert w.get(path).complete
    with pytest.raises(TimeoutError):
        w.hear(0.1)
    for _ in range(5):
        assert w.get(path).complete
    assert w.hear() == ("leaving", wire.MAXIMUM_REQUESTS)
    with pytest.raises(TimeoutError):
        w.hear(0.1)
    # Jitter only adds.
    w = worker(maximum_requests=2, jitter=20)
    count = 0
    while True:
        assert w.get(path).complete
        count += 1
        try:
            assert w.hear(0.05) == ("leaving", wire.MAXIMUM_REQUESTS)
            break
        except TimeoutError:
            pass
    assert 2 <= count <= 22


@pytest.fixture
def endless(script, tmp_path):
    """A script whose application does not return, and what is true as soon as it runs."""
    runs = tmp_path / "runs"

    def write(statement):
        return script(f"""
        import ctypes, time
        holding_the_gil = ctypes.PyDLL(None)
        def application(environ, start_response):
            holding_the_gil.creat({os.fsencode(runs)!r}, 0o666)
            {statement}
        """)

    return write, runs.exists


def test_a_worker_killed_before_the_application_began_resets_the_connection(worker, endless):
    write, runs = endless
    path = write("time.sleep(30)")
    w = worker(threads=1)
    with w.send(path):
        eventually(runs)
        with w.send(path) as waiting:
            w.process.kill()
            w.wait()
            w.listener.close()
            assert w.answer(waiting).ending == "reset"


def test_a_worker_killed_while_the_application_runs_ends_the_connection(worker, endless):
    write, runs = endless
    w = worker(threads=1)
    with w.send(write("time.sleep(30)")) as running:
        eventually(runs)
        w.process.kill()
        answer = w.answer(running)
        assert (answer.ending, answer.frames) == ("eof", [])


def test_a_request_that_waits_for_the_gil_has_not_begun(worker, endless):
    write, runs = endless
    path = write("holding_the_gil.sleep(30)")
    w = worker(threads=2)
    with w.send(path) as one, w.send(path) as other:
        eventually(runs)
        w.process.kill()
        w.wait()
        # Which of them has the GIL is not ours to say. The other was taken or waits at the listener still.
        w.listener.close()
        assert sorted([w.answer(one).ending, w.answer(other).ending]) == ["eof", "reset"]


def test_instructions_it_cannot_follow(python, worker, tmp_path):
    w = worker(wait=False, threads=0)
    kind, text = w.hear()
    assert kind == "unusable" and "threads=0" in text
    assert w.wait() == 1
    w = worker(wait=False)
    w.ready()
    w.control.send(b"garbage")
    assert w.wait() == 0


def test_a_service_process_runs_its_scripts_and_ends_as_python_does(worker, script, tmp_path):
    diary = tmp_path / "diary"
    path = script(f"""
    import atexit, threading, time
    def note(word):
        with open({str(diary)!r}, "a") as file:
            print(word, file=file)
    atexit.register(note, "atexit")
    try:
        note(threading.current_thread() is threading.main_thread())
        time.sleep(60)
    except SystemExit:
        note("asked")
        raise
    """)
    for way in ("stop", "drain", "gone", "signal"):
        w = worker(threads=0, preload=[(str(path), "")])
        eventually(lambda: diary.exists() and diary.read_text() == "True\n")
        if way == "stop":
            w.control.send(wire.stop(5000))
        elif way == "drain":
            w.control.send(wire.drain(5000))
        elif way == "gone":
            w.control.close()
        else:
            w.process.send_signal(signal.SIGTERM)
        assert w.wait(5) == 0
        assert diary.read_text().split() == ["True", "asked", "atexit"]
        assert w.log == ""
        diary.unlink()


def test_locale_that_does_not_exist_is_a_warning(worker, script):
    path = script(HELLO)
    w = worker(locale="xx_YY.UTF-8", environ={**os.environ, "LC_ALL": "xx_YY.UTF-8"})
    assert w.get(path).body == b"hello"
    assert "WSGI0079" in w.log


def test_stack_size_is_obeyed(worker, script):
    path = script("""
    import sys
    def deep(n):
        return n and deep(n - 1)
    def application(environ, start_response):
        sys.setrecursionlimit(20000)
        deep(10000)
        start_response("200 OK", [])
        return [b"x"]
    """)
    assert worker(stack_size=64 << 20).get(path).body == b"x"


def test_a_newer_configuration_brings_a_secret(worker, script):
    path = script(HELLO)
    w = worker()
    assert w.get(path).body == b"hello"
    w.control.send(wire.setup(key=b"n" * 16, earlier_keys=[w.key]))
    assert w.get(path, key=b"n" * 16).body == b"hello"
    assert w.get(path).body == b"hello"


def test_a_process_the_application_forks_leaves_the_request_alone(worker, script):
    path = script("""
    import multiprocessing, os, sys
    def work(environ):
        print("printed in the child")
        environ["wsgi.errors"].write("and by wsgi.errors\\n")
        try:
            environ["wsgi.input"].read()
        except OSError:
            os._exit(3)
    def application(environ, start_response):
        write = start_response("200 OK", [])
        context = multiprocessing.get_context("fork")
        child = context.Process(target=work, args=(environ,))
        child.start()
        child.join()
        # A child that returns where its parent does.
        if os.fork() == 0:
            return [b"twice"]
        os.wait()
        return [b"%d" % child.exitcode]
    """)
    w = worker(threads=1)
    answer = w.get(path, flags=0)
    assert (answer.body, answer.log, answer.complete) == (b"3", "", True)
    eventually(lambda: w.log == "printed in the child\nand by wsgi.errors\n")
    assert w.get(path, flags=0).body == b"3"
