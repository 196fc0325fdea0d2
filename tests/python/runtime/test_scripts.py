"""Loading, changing and failing scripts."""

import hashlib
import os
import threading
import time

import pytest
import wire
from harness import eventually

HELLO = """
    def application(environ, start_response):
        start_response("200 OK", [])
        return [b"%s"]
"""


def touch(path, seconds):
    """Gives the file a modification time of its own."""
    os.utime(path, (1_700_000_000 + seconds,) * 2)


def test_a_script_is_a_module_with_a_name_of_its_own(worker, script):
    path = script("""
    import sys
    def application(environ, start_response):
        module = sys.modules[__name__]
        body = repr((__name__, __file__, type(__mtime__).__name__, module.__dict__ is globals(),
                     __name__ == "__main__", sys.argv, "" in sys.path)).encode()
        start_response("200 OK", [])
        return [body]
    """)
    name = "_mod_wsgi_" + hashlib.md5(str(path).encode()).hexdigest()
    facts = eval(worker().get(path).body)
    assert facts == (name, str(path), "int", True, False, ["mod_wsgi"], False)


def test_preloading_comes_before_ready(worker, script):
    path = script("import os\nprint('loaded', os.getpid())" + HELLO.replace("\n    ", "\n") % "x")
    w = worker(preload=[(path, "")])
    eventually(lambda: f"loaded {w.pid}" in w.log)
    assert w.get(path).body == b"x"
    assert w.log.count("loaded") == 1


def test_a_failed_preload_is_told_before_ready_and_answered_with_500(worker, script):
    path = script("raise ValueError('at import')\n")
    other = script(HELLO % "other", "other.wsgi")
    w = worker(preload=[(path, "")])
    assert w.said == [("leaving", wire.LOAD_FAILED)]
    eventually(lambda: "ValueError: at import" in w.log)
    assert "WSGI0110" in w.log and w.log.count("Traceback") == 1
    answer = w.get(path)
    assert answer.fail[0] == 500 and "Traceback" not in answer.log and "before" in answer.log
    assert w.get(other).body == b"other"


def test_a_failed_load_is_reported_once_and_poisons_the_script(worker, script, tmp_path):
    marker = tmp_path / "count"
    path = script(f"""
    with open({str(marker)!r}, "a") as f:
        f.write("x")
    import nowhere_to_be_found
    """)
    w = worker()
    first = w.get(path)
    assert first.fail == (500, "") and len(first.logs) == 1
    assert "WSGI0109" in first.log and "nowhere_to_be_found" in first.log
    assert 'line 4, in <module>' in first.log and "<mod_wsgi" not in first.log
    assert w.hear() == ("leaving", wire.LOAD_FAILED)
    for _ in range(3):
        again = w.get(path)
        assert again.fail[0] == 500 and "Traceback" not in again.log and "could not be loaded" in again.log
    assert marker.read_text() == "x"
    touch(path, 5)
    mended = w.get(path)
    assert (mended.retry, mended.kinds) == (1, [wire.RETRY])
    assert w.hear() == ("leaving", wire.STALE)
    assert w.wait() == 0


def test_failures_of_each_kind(worker, script, tmp_path):
    w = worker()
    syntax = w.get(script("def broken(:\n    pass\n", "syntax.wsgi"))
    assert "WSGI0105" in syntax.log and "SyntaxError" in syntax.log and "line 1" in syntax.log
    missing = w.get(tmp_path / "missing.wsgi")
    assert "WSGI0105" in missing.log and "No such file" in missing.log
    leaving = w.get(script("import sys\ndef run():\n    sys.exit(1)\nrun()\n", "exit.wsgi"))
    assert "WSGI0107" in leaving.log and "SystemExit(1)" in leaving.log and "app.run()" in leaving.log
    assert f"at {tmp_path}/exit.wsgi line 3" in leaving.log
    encoded = script("", "encoded.wsgi")
    encoded.write_bytes(b"# -*- coding: latin-1 -*-\nname = '\xe4'\n"
                        b"def application(e, s):\n    s('200 OK', [])\n    return [name.encode()]\n")
    assert w.get(encoded).body == "\xe4".encode()
    # An interrupt in a script must not end the worker.
    interrupt = w.get(script("raise KeyboardInterrupt\n", "interrupt.wsgi"))
    assert interrupt.fail[0] == 500 and "KeyboardInterrupt" in interrupt.log
    directory = tmp_path / "directory.wsgi"
    directory.mkdir()
    assert w.get(directory).fail[0] == 500


def test_a_missing_callable_names_those_there_are(worker, script):
    path = script("app = lambda e, s: None\ndef create_app(): pass\n")
    answer = worker().get(path)
    assert answer.fail[0] == 500
    assert "WSGI0089" in answer.log and "'application'" in answer.log and "app, create_app" in answer.log


def test_another_callable(worker, script):
    path = script((HELLO % "x").replace("application", "other"))
    assert worker().get(path, callable="other").body == b"x"


def test_a_changed_script_is_stale_and_the_worker_leaves(worker, script):
    path = script(HELLO % "old")
    w = worker()
    touch(path, 0)
    assert w.get(path).body == b"old"
    touch(path, -5)
    answer = w.get(path)
    assert (answer.retry, answer.kinds) == (1, [wire.RETRY])
    assert w.hear() == ("leaving", wire.STALE)
    assert w.hear() is None
    assert w.wait() == 0


def test_without_reloading_a_change_does_nothing(worker, script):
    path = script(HELLO % "old")
    w = worker()
    assert w.get(path, flags=wire.BODY_WHOLE).body == b"old"
    touch(path, 5)
    assert w.get(path, flags=wire.BODY_WHOLE).body == b"old"


@pytest.mark.parametrize("line", ["__mtime__ = 0", "del __mtime__", "__mtime__ = 'x'"])
def test_a_script_can_ask_to_be_loaded_anew(worker, script, line):
    path = script(f"""
    import sys
    def application(environ, start_response):
        exec({line!r}, globals())
        start_response("200 OK", [])
        return [b"x"]
    """)
    w = worker()
    assert w.get(path).body == b"x"
    assert w.get(path).retry == 1


def test_reload_required_decides(worker, script):
    path = script("""
    answers = [ValueError("odd"), False, True]
    def reload_required(path):
        assert path == __file__
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer
    def application(environ, start_response):
        start_response("200 OK", [])
        return [b"x"]
    """)
    w = worker()
    # Not asked by the request the script is loaded for, nor by one that was sent before that.
    before = int(time.monotonic() * 1e6)
    assert w.get(path).body == b"x"
    assert w.get(path, sent=before).body == b"x"
    assert "ValueError" not in w.log
    assert w.get(path).body == b"x"
    eventually(lambda: "ValueError: odd" in w.log)
    assert w.get(path).body == b"x"
    assert w.get(path).retry == 1


def test_requests_wait_for_a_load_and_it_happens_once(worker, script, tmp_path):
    path = script("""
    import time
    print("loading")
    time.sleep(0.5)
    """ + HELLO % "x")
    quick = script(HELLO % "quick", "quick.wsgi")
    w = worker(threads=6)
    assert w.get(quick).body == b"quick"
    bodies = []
    threads = [threading.Thread(target=lambda: bodies.append(w.get(path).body)) for _ in range(4)]
    begun = time.monotonic()
    [t.start() for t in threads]
    time.sleep(0.1)
    assert w.get(quick).body == b"quick"
    assert time.monotonic() - begun < 0.45
    [t.join() for t in threads]
    assert bodies == [b"x"] * 4
    assert w.log.count("loading") == 1


def test_a_request_in_flight_finishes_when_another_finds_the_script_changed(worker, script):
    path = script("""
    import time
    def application(environ, start_response):
        time.sleep(0.4)
        start_response("200 OK", [])
        return [b"slow"]
    """)
    w = worker(threads=2)
    assert w.get(path).body == b"slow"
    with w.send(path) as connection:
        time.sleep(0.1)
        touch(path, 5)
        assert w.get(path).retry == 1
        assert w.answer(connection).body == b"slow"
    assert w.wait() == 0


def test_path_home_and_site_directories(worker, script, tmp_path):
    for name in ("home", "one", "two", "by_pth"):
        (tmp_path / name).mkdir()
    (tmp_path / "one" / "x.pth").write_text(f"{tmp_path}/by_pth\n")
    path = script("""
    import sys, os
    def application(environ, start_response):
        start_response("200 OK", [])
        return [repr((sys.path, os.environ.get("HOME"), os.environ.get("USER"),
                      os.environ.get("PYTHON_EGG_CACHE"))).encode()]
    """)
    w = worker(home=tmp_path / "home", python_path=[tmp_path / "one", tmp_path / "two"],
               eggs="/eggs", environ={**os.environ, "USER": "root"})
    found, home, user, eggs = eval(w.get(path).body)
    assert found[:4] == [f"{tmp_path}/{name}" for name in ("home", "one", "by_pth", "two")]
    assert "" not in found
    assert (home, user, eggs) == ("/home/user1", "user1", "/eggs")
