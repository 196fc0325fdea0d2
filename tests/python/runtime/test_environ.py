"""The environ."""

import time

import wire

SHOW = """
    def application(environ, start_response):
        table = {key: (type(value).__name__, repr(value)) for key, value in environ.items()}
        body = repr((type(environ).__name__, table)).encode()
        start_response("200 OK", [])
        return [body]
"""


def shown(answer):
    kind, table = eval(answer.body)
    assert kind == "dict"
    return table


def test_text_is_latin_1_and_paths_are_names_of_the_file_system(worker, script):
    path = script(SHOW)
    w = worker()
    environ = {"HTTP_X_OWN": b"\xe4\xff", "SETENV.dots": "v", "QUERY_STRING": b"a=\x80",
               "DOCUMENT_ROOT": "/srv/\xc3\xa4".encode("latin-1"), "HTTP_HOST": "shop"}
    table = shown(w.get(path, environ=environ))
    assert table["HTTP_X_OWN"] == ("str", repr("\xe4\xff"))
    assert table["QUERY_STRING"] == ("str", repr("a=\x80"))
    assert table["SETENV.dots"] == ("str", "'v'")
    assert table["DOCUMENT_ROOT"] == ("str", repr("/srv/\xe4"))
    assert table["SCRIPT_FILENAME"] == ("str", repr(str(path)))


def test_the_servers_own_entries(worker, script):
    path = script(SHOW)
    w = worker(threads=3, processes=1, multiprocess=True)
    before = time.time()
    now = int(before * 1e6)
    table = shown(w.get(path, request_start=now - 500_000, queue_start=now - 250_000))
    assert table["wsgi.version"] == ("tuple", "(1, 0)")
    assert table["wsgi.multithread"] == ("bool", "True")
    assert table["wsgi.multiprocess"] == ("bool", "True")
    assert table["wsgi.run_once"] == ("bool", "False")
    assert table["wsgi.input_terminated"] == ("bool", "True")
    assert table["wsgi.file_wrapper"] == ("type", "<class 'mod_wsgi.FileWrapper'>")
    assert table["wsgi.input"][0] == "Input" and table["wsgi.errors"][0] == "RequestText"
    assert table["wsgi.early_hints"][0] == "builtin_function_or_method"
    assert table["apache.version"] == ("tuple", "(2, 4, 71)")
    assert table["mod_wsgi.version"] == ("tuple", "(6, 1, 1)")
    assert table["mod_wsgi.thread_id"][0] == "int" and 1 <= int(table["mod_wsgi.thread_id"][1]) <= 3
    times = [table[f"mod_wsgi.{name}"] for name in
             ("request_start", "queue_start", "daemon_start", "application_start")]
    assert all(kind == "float" for kind, _ in times)
    values = [float(value) for _, value in times]
    assert values == sorted(values)
    assert abs(values[0] - (before - 0.5)) < 0.001 and abs(values[3] - before) < 5


def test_multithread_and_run_once(worker, script):
    path = script(SHOW)
    table = shown(worker(threads=1, maximum_requests=1).get(path))
    assert (table["wsgi.multithread"][1], table["wsgi.run_once"][1]) == ("False", "True")
    assert table["wsgi.multiprocess"][1] == "False"


def test_a_large_environ_arrives_and_the_next_does_not_see_it(worker, script):
    path = script(SHOW)
    w = worker(threads=1)
    large = {f"HTTP_X_{i}": "v" * 2000 for i in range(240)}
    table = shown(w.get(path, environ=large))
    assert table["HTTP_X_239"] == ("str", repr("v" * 2000))
    assert "HTTP_X_1" not in shown(w.get(path))


def test_a_changed_environ_does_not_reach_the_next_request(worker, script):
    path = script("""
    def application(environ, start_response):
        old = environ.get("wsgi.version")
        environ.clear()
        environ["wsgi.version"] = "mine"
        start_response("200 OK", [])
        return [repr(old).encode()]
    """)
    w = worker(threads=1)
    assert [w.get(path).body for _ in range(3)] == [b"(1, 0)"] * 3


def test_head_is_seen_as_sent(worker, script):
    path = script(SHOW)
    answer = worker().get(path, method="HEAD", flags=wire.BODY_WHOLE)
    assert shown(answer)["REQUEST_METHOD"] == ("str", "'HEAD'")
