"""What applications print, and the guards of the standard streams."""

import threading

from harness import eventually

ERROR, WARNING, INFO = 3, 4, 6


def run(w, path, name, **more):
    return w.get(path, f"/{name}", **more)


APP = """
    import io, logging, sys, threading, traceback, warnings

    def application(environ, start_response):
        result = globals()[environ["PATH_INFO"].strip("/")](environ)
        start_response("200 OK", [])
        return [repr(result).encode()]
"""


def test_what_is_printed_in_a_request_is_in_its_log_and_in_no_answer(worker, script):
    path = script(APP + """
    def prints(environ):
        print("to stdout")
        print("to stderr", file=sys.stderr)
        print("to errors", file=environ["wsgi.errors"])
        sys.stdout.write("two\\nlines\\n")
        print("a\\nb")
        sys.stderr.writelines(["one ", "two\\n"])
        environ["wsgi.errors"].writelines(["x", "y"])
        environ["wsgi.errors"].flush()
        sys.stdout.write("\\u20ac \\udcff\\n")
        sys.stdout.buffer.write(memoryview(b"raw\\n"))
        print("partial", end="")
    """)
    w = worker()
    answer = run(w, path, "prints")
    assert answer.logs == [(ERROR, text) for text in [
        "to stdout", "to stderr", "to errors", "two\nlines", "a\nb", "one two", "xy", "\u20ac ?",
        "raw", "partial"]]
    assert answer.body == b"None"
    assert w.log == ""


def test_the_streams_look_like_files(worker, script):
    path = script(APP + """
    def facts(environ):
        out = []
        for s in (sys.stdout, sys.stderr, environ["wsgi.errors"]):
            try:
                descriptor = s.fileno()
            except OSError:
                descriptor = None
            out.append((s.name, s.encoding, s.errors, s.isatty(), s.closed, s.writable(), s.readable(),
                        s.seekable(), descriptor))
            s.close()
            s.write("still open\\n")
        for wrong in (b"bytes", 5, None):
            try:
                environ["wsgi.errors"].write(wrong)
            except TypeError:
                out.append("TypeError")
        out.append(environ["wsgi.errors"].write("abc\\n"))
        sys.stdout = sys.stderr
        print("redirected")
        logging.basicConfig()
        logging.warning("logged")
        return out
    """)
    answer = run(worker(), path, "facts")
    names = ("<stdout>", "<stderr>", "<wsgi.errors>")
    assert eval(answer.body) == [
        (name, "utf-8", "replace", False, False, True, False, False, descriptor)
        for name, descriptor in zip(names, (1, 2, None))
    ] + ["TypeError"] * 3 + [4]
    assert answer.log.endswith("abc\nredirected\nWARNING:root:logged")


def test_what_is_printed_outside_of_requests_is_in_the_log_of_the_process(worker, script):
    path = script(APP + """
    print("while loading")
    def thread(environ):
        def work():
            print("from a", end=" ")
            print("thread")
            sys.stderr.write("last words")
        t = threading.Thread(target=work)
        t.start()
        t.join()
    """)
    w = worker()
    answer = run(w, path, "thread")
    assert answer.logs == []
    eventually(lambda: "last words" in w.log)
    assert w.log.splitlines() == ["while loading", "from a thread", "last words"]


def test_each_request_has_its_own_log(worker, script):
    path = script(APP + """
    barrier = threading.Barrier(4)
    def mixed(environ):
        me = environ["QUERY_STRING"]
        for i in range(50):
            sys.stdout.write(f"{me} ")
            if i % 10 == 0:
                barrier.wait(10)
            print(f"line {i} of {me}")
    """)
    w = worker(threads=4)
    answers = {}

    def one(name):
        answers[name] = run(w, path, "mixed", environ={"QUERY_STRING": name})

    threads = [threading.Thread(target=one, args=(name,)) for name in "abcd"]
    [t.start() for t in threads]
    [t.join() for t in threads]
    for name, answer in answers.items():
        assert [text for _, text in answer.logs] == [f"{name} line {i} of {name}" for i in range(50)]


def test_a_stream_is_made_once_and_serves_one_request_after_the_other(worker, script):
    """Making one costs more than a small request; only one that the application keeps is made anew."""
    path = script(APP + """
    streams, kept = sys.modules["_mod_wsgi.streams"], []
    made, make = [], streams._open
    def counting(*arguments):
        made.append(1)
        return make(*arguments)
    streams._open = counting
    def count(environ):
        environ["wsgi.errors"].write("x\\n")
        return len(made)
    def keep(environ):
        kept.append(environ["wsgi.errors"].write)
        return len(made)
    """)
    w = worker(threads=1)
    first = int(run(w, path, "count").body)
    assert [int(run(w, path, "count").body) for _ in range(5)] == [1] * 5
    assert first <= 1
    assert int(run(w, path, "keep").body) == 1
    assert [int(run(w, path, "count").body) for _ in range(3)] == [2] * 3


def test_a_long_text_is_cut_and_nothing_of_it_lost(worker, script):
    path = script(APP + """
    def long(environ):
        print("x" * 200000)
        sys.stderr.write("".join(f"line {i}\\n" for i in range(20000)))
    """)
    answer = run(worker(), path, "long")
    texts = [text for _, text in answer.logs]
    assert all(len(text) <= 65536 for text in texts)
    assert "".join(texts[:4]) == "x" * 200000
    assert "\n".join(texts[4:]) == "\n".join(f"line {i}" for i in range(20000))


def test_restricted_streams_say_who_restricts_them(worker, script):
    path = script(APP + """
    def restricted(environ):
        out = []
        for use in (lambda: print("x"), lambda: sys.stdout.write, lambda: sys.stdin.read(),
                    lambda: input(), lambda: iter(sys.stdin)):
            try:
                use()
            except OSError as error:
                out.append(str(error))
        sys.stdout = sys.stderr
        print("now it works")
        return out
    """)
    answer = run(worker(restrict_stdout=True, restrict_stdin=True), path, "restricted")
    texts = eval(answer.body)
    assert len(texts) == 5
    assert all("mod_wsgi restricts sys.std" in text and "Off" in text for text in texts)
    assert answer.log == "now it works"
    free = run(worker(), path, "restricted")
    assert "EOFError" in free.log


def test_one_process_keeps_stdout(worker, script):
    path = script(APP + """
    def kept(environ):
        return sys.stdout is sys.__stdout__, sys.stderr is sys.__stderr__
    """)
    w = worker(one_process=True, restrict_stdout=True, restrict_stdin=True)
    assert run(w, path, "kept").body == b"(True, False)"


def test_log_handler_has_levels(worker, script):
    path = script(APP + """
    import mod_wsgi
    def levels(environ):
        log = logging.getLogger("own")
        log.propagate = False
        log.setLevel(1)
        class Own(mod_wsgi.LogHandler):
            pass
        log.addHandler(Own())
        for number in (50, 40, 30, 20, 10):
            log.log(number, "level %d", number)
        log.error("two\\nlines")
        t = threading.Thread(target=log.error, args=("outside",))
        t.start()
        t.join()
    """)
    w = worker()
    answer = run(w, path, "levels")
    assert answer.logs == [(2, "level 50"), (3, "level 40"), (4, "level 30"), (6, "level 20"),
                           (7, "level 10"), (3, "two\nlines")]
    eventually(lambda: w.log == "outside\n")


def test_a_full_pipe_of_the_process_stops_nobody(python, worker, script):
    path = script(APP + """
    def flood(environ):
        t = threading.Thread(target=lambda: [print("y" * 4000) for _ in range(100)])
        t.start()
        t.join()
    def one(environ):
        t = threading.Thread(target=print, args=("one",))
        t.start()
        t.join()
    def quick(environ):
        return "ok"
    """)
    w = worker()
    w.pause_log()
    done = []
    flood = threading.Thread(target=lambda: done.append(run(w, path, "flood")))
    flood.start()
    for _ in range(20):
        assert run(w, path, "quick").body == b"'ok'"
    flood.join(10)
    assert done and done[0].complete
    w.resume_log()
    # Told with the next record that finds room.
    eventually(lambda: run(w, path, "one").complete and "lines of log were left out" in w.log)


def test_output_of_destructors_goes_to_the_request(worker, script):
    path = script("""
    class Loud:
        def __del__(self):
            print("gone")
    def application(environ, start_response):
        environ["loud"] = Loud()
        start_response("200 OK", [])
        return [b"x"]
    """)
    answer = worker().get(path)
    assert (answer.log, answer.complete) == ("gone", True)


def test_warnings_are_warnings(worker, script):
    path = script(APP + """
    def warns(environ):
        warnings.warn("in a request", stacklevel=1)

    warnings.warn("at import", stacklevel=1)
    """)
    w = worker()
    answer = run(w, path, "warns")
    ((level, text),) = answer.logs
    assert level == WARNING and "UserWarning: in a request\n" in text and not text.endswith("\n")
    eventually(lambda: "\x1e4" in w.log and "UserWarning: at import" in w.log)
