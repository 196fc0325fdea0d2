"""What start_response and write raise: the types are the C module's, the texts name the fault."""

import pytest

TOP = """
import json, sys

def outcome(call):
    try:
        call()
    except BaseException as error:
        return [type(error).__name__, str(error)]
    return None

class Text(str):
    pass
class List(list):
    pass
class Tuple(tuple):
    pass

def raised():
    try:
        raise KeyError("own")
    except KeyError:
        return sys.exc_info()
"""

# What is called, the exception, and a part of the text; a text of None is not ours to choose.
CALLS = [
    ('start()', "TypeError", "start_response() takes"),
    ('start("200 OK")', "TypeError", "start_response() takes"),
    ('start("200 OK", [], None, 1)', "TypeError", "start_response() takes"),
    ('start(status="200 OK", headers=[])', "TypeError", None),
    ('start(b"200 OK", [])', "TypeError", "must be str|must be a str, not bytes"),
    ('start(200, [])', "TypeError", "not int"),
    ('start("200 \\u20ac", [])', "UnicodeEncodeError", "latin-1"),
    ('start("", [])', "ValueError", "digit"),
    ('start("20", [])', "ValueError", "20'"),
    ('start("2000 OK", [])', "ValueError", "2000 OK"),
    ('start("200-OK", [])', "ValueError", "200-OK"),
    ('start("200 O\\nK", [])', "ValueError", "control character in|a control character"),
    ('start("200 OK", ())', "TypeError", "must be (a )?list, not tuple"),
    ('start("200 OK", None)', "TypeError", "must be (a )?list, not None"),
    ('start("200 OK", {})', "TypeError", "must be (a )?list, not dict"),
    ('start("200 OK", [["X-A", "b"]])', "TypeError", "header must be a (2-)?tuple.*not list"),
    ('start("200 OK", ["ab"])', "TypeError", "header must be a (2-)?tuple.*not str"),
    ('start("200 OK", [("X-A", "b", "c")])', "ValueError", "header must be a .*3"),
    ('start("200 OK", [("X-A",)])', "ValueError", "header must be a .*1"),
    ('start("200 OK", [(b"X-A", "b")])', "TypeError", "not bytes"),
    ('start("200 OK", [("X-A", b"b")])', "TypeError", "not bytes"),
    ('start("200 OK", [("X-A", None)])', "TypeError", "not NoneType"),
    ('start("200 OK", [("Content-Length", 1)])', "TypeError", "not int"),
    ('start("200 OK", [("\\u20ac", "b")])', "UnicodeEncodeError", "latin-1"),
    ('start("200 OK", [("X-A", "\\u20ac")])', "UnicodeEncodeError", "latin-1"),
    ('start("200 OK", [("", "b")])', "ValueError", "empty"),
    ('start("200 OK", [("X\\n", "b")])', "ValueError", "X.n"),
    ('start("200 OK", [("X A", "b")])', "ValueError", "X A"),
    ('start("200 OK", [("X-A", "b\\r")])', "ValueError", ".r"),
    ('start("200 OK", [("X-A", "b\\nc")])', "ValueError", ".n"),
    ('start("200 OK", [], "text")', "RuntimeError", "exc_info"),
    ('start("200 OK", [], [1, 2, 3])', "RuntimeError", "exc_info"),
    ('write()', "TypeError", "write() takes"),
    ('write("text")', "TypeError", "bytes, not str"),
    ('write(bytearray(b"x"))', "TypeError", "bytes, not bytearray"),
    ('write(memoryview(b"x"))', "TypeError", "bytes, not memoryview"),
    ('write(None)', "TypeError", "bytes, not NoneType"),
    ('write(b"x", b"y")', "TypeError", "write() takes"),
    ('write(data=b"x")', "TypeError", None),
]
FINE = [
    'start("200", [])', 'start(Text("200 OK"), List())', 'start("200 OK", [Tuple(("X-A", "b"))])', 'start("200 OK", [], ())',
    'start("200 OK", [], (None, None, None))', 'start("200 OK", [], raised())',
]


def asked(httpd, calls, before=""):
    lines = "\n".join(f"    found.append(outcome(lambda: {call}))" for call in calls)
    httpd.app("case.wsgi", f"""{TOP}
def application(environ, start):
    found = []
    write = start("200 OK", [("Content-Type", "text/plain")])
{before}
{lines}
    if not {bool(before)}:
        start("200 OK", [("Content-Type", "text/plain")])
    return [b"\\n" + json.dumps(found).encode()]
""")
    httpd.serve("case.wsgi")
    import json

    return json.loads(httpd.get("/").text.split("\n")[-1])


def test_what_is_refused_and_why(httpd):
    import re

    found = asked(httpd, [call for call, _, _ in CALLS])
    wrong = [
        (call, got) for (call, kind, text), got in zip(CALLS, found, strict=True)
        if got is None or got[0] != kind or text is not None and not re.search(text.replace("()", r"\(\)"), got[1])
    ]
    assert not wrong


def test_what_is_taken(httpd):
    assert asked(httpd, FINE) == [None] * len(FINE)


def test_the_text_names_the_header_but_not_its_value(httpd):
    found = asked(httpd, ['start("200 OK", [("Set-Cookie", 5)])', 'start("200 OK", [("Set-Cookie", "session=a-secret\\n")])',
                          'start("200 OK", [("X" * 5000, 5)])'])
    kind, text = found[1]
    if not httpd.is_reference:
        assert "Set-Cookie" in found[0][1] and "Set-Cookie" in text and "position 16" in text and "secret" not in text
    assert kind == "ValueError" and len(found[2][1]) < 300


LATE = [
    ('start("200 OK", [])', "RuntimeError", None),
    ('start("200 OK", [], raised())', "KeyError", "'own'"),
    ('start("200 OK", [], (KeyError, None, None))', "KeyError", ""),
]


def test_headers_that_come_too_late(httpd):
    found = asked(httpd, [call for call, _, _ in LATE], '    write(b"sent")')
    assert [kind for kind, _ in found] == [kind for _, kind, _ in LATE]
    assert [text for (_, text), (_, _, wanted) in zip(found, LATE) if wanted is not None] == ["'own'", ""]


def test_the_first_write_settles_the_headers_although_it_writes_nothing(httpd):
    """PEP 3333: headers may be replaced until the first call of write()."""
    found = asked(httpd, ['start("200 OK", [])', 'start("500 No", [], raised())', 'write(b"")'], '    write(b"")')
    assert [outcome and outcome[0] for outcome in found] == ["RuntimeError", "KeyError", None]


@pytest.mark.differs("exc-info-of-no-exception", run=False)
def test_exc_info_that_holds_no_exception_comes_too_late_like_any(httpd):
    calls = ['start("200 OK", [], (None, None, None))', 'start("200 OK", [], (1, 2, 3))', 'start("200 OK", [], ())',
             'start("200 OK", [], (int, 2, 3))', 'start("200 OK", [], (KeyError, "text", None))']
    found = asked(httpd, calls, '    write(b"sent")')
    assert [kind for kind, _ in found] == ["RuntimeError"] * 4 + ["KeyError"]
    assert found[4][1] == "'text'"


def test_nothing_works_once_the_request_is_over(httpd):
    httpd.app("case.wsgi", f"""{TOP}
kept = []
def application(environ, start):
    if kept:
        old, write = kept
        found = [outcome(lambda: old("200 OK", [])), outcome(lambda: old()), outcome(lambda: write(b"x")), outcome(lambda: write(b""))]
        start("200 OK", [])
        return [json.dumps(found).encode()]
    kept[:] = start, start("200 OK", [])
    return []
""")
    httpd.serve("case.wsgi")
    httpd.get("/")
    found = httpd.ask("/")
    assert [kind for kind, _ in found] == ["RuntimeError", found[1][0], "RuntimeError", "RuntimeError"] and found[1][0] in ("RuntimeError", "TypeError")
    assert all("request" in text for kind, text in found if kind == "RuntimeError")
