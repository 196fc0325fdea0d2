"""wsgi.file_wrapper (issue 3, point 4)."""

import subprocess

import pytest

from waiting import SLACK, until

CONTENT = bytes(range(256)) * 400  # 102,400 bytes, each stretch of it to be told from every other


@pytest.fixture
def run(httpd):
    """Serve the body of an application; `PATH` is a file of 102,400 bytes."""
    path = httpd.apps / "file.bin"
    path.write_bytes(CONTENT)

    def serve(body, *lines, options="threads=2", top=""):
        indented = "\n".join("    " + line for line in body.strip("\n").splitlines())
        httpd.app("case.wsgi", f"import io, os, sys, time, threading\nimport mod_wsgi\nPATH = {str(path)!r}\n{top}\n\ndef application(environ, start_response):\n    wrap = environ['wsgi.file_wrapper']\n{indented}\n")
        return httpd.serve("case.wsgi", *lines, options=options)

    serve.path = path
    return serve


PLAIN = 'start_response("200 OK", [("Content-Type", "text/plain")])\nreturn wrap(open(PATH, "rb"))'


@pytest.mark.parametrize("lines", [
    [], ["EnableSendfile On"], ["WSGIEnableSendfile On"], ["EnableSendfile Off", "EnableMMAP Off"], ["EnableMMAP On"],
])
def test_a_file_arrives_whole_with_its_length(run, lines):
    httpd = run(PLAIN, *lines)
    with httpd.connect() as connection:
        for _ in range(3):
            connection.send_request("GET", "/")
            answer = connection.response()
            assert (answer.body == CONTENT, answer["Content-Length"], answer.complete) == (True, "102400", True)


def test_it_begins_where_the_file_stands(run):
    answer = run("""
file = open(PATH, "rb")
file.seek(1000)
start_response("200 OK", [])
return wrap(file)
""").get("/")
    assert answer.body == CONTENT[1000:] and answer["Content-Length"] == "101400"


def test_a_content_length_bounds_it(run):
    answer = run("""
file = open(PATH, "rb")
file.seek(256)
start_response("200 OK", [("Content-Length", "256")])
return wrap(file)
""").get("/")
    assert answer.body == CONTENT[256:512]


def test_the_position_of_the_file_stays(run):
    httpd = run("""
file = open(PATH, "rb")
file.seek(300)
class Wrapper(wrap):
    def close(self):
        print("position", file.tell(), file=sys.stderr)
        super().close()
start_response("200 OK", [])
return Wrapper(file)
""")
    assert len(httpd.get("/").body) == 102400 - 300
    httpd.error_log.expect("position 300", count=1)


def test_it_is_closed_once(run):
    httpd = run("""
class File(io.FileIO):
    def close(self):
        if not self.closed:
            print("closed", file=sys.stderr)
        super().close()
start_response("200 OK", [])
return wrap(File(PATH))
""")
    assert httpd.get("/").body == CONTENT
    httpd.error_log.expect("closed", count=1)


OBJECTS = {
    "BytesIO": "io.BytesIO(open(PATH, 'rb').read())",
    "without fileno": "made({'read': open(PATH, 'rb').read})",
    "fileno that raises": "made({'read': open(PATH, 'rb').read, 'fileno': lambda self: 1 / 0})",
    "fileno that lies": "made({'read': open(PATH, 'rb').read, 'fileno': lambda self: 987654, 'tell': lambda self: 0})",
    "no number": "made({'read': open(PATH, 'rb').read, 'fileno': lambda self: 'x', 'tell': lambda self: 0})",
    "no tell": "made({'read': open(PATH, 'rb').read, 'fileno': open(PATH, 'rb').fileno})",
    "unbuffered": "open(PATH, 'rb', buffering=0)",
    "a pipe": "pipe()",
}

PIPE = """
def made(methods):
    return type("F", (), {"close": lambda self: None, **methods})()

def pipe():
    read, write = os.pipe()
    def fill():
        with open(write, "wb") as file:
            file.write(open(PATH, "rb").read())
    threading.Thread(target=fill).start()
    return open(read, "rb")
"""


@pytest.mark.parametrize("kind", OBJECTS)
def test_other_objects_are_read(run, kind):
    answer = run(f'start_response("200 OK", [])\nreturn wrap({OBJECTS[kind]}, 1000)', top=PIPE).get("/")
    assert answer.complete and answer.body == CONTENT


def test_a_wrapper_inside_another_iterable_is_read(run):
    answer = run('start_response("200 OK", [])\nreturn (block.upper() for block in wrap(open(PATH, "rb"), 5000))').get("/")
    assert answer.complete and answer.body == CONTENT.upper()


def test_it_follows_what_was_written(run):
    answer = run('write = start_response("200 OK", [])\nwrite(b"first")\nreturn wrap(open(PATH, "rb"))').get("/")
    assert answer.complete and answer.body == b"first" + CONTENT


EMPTY = 'file = open({path}, "rb")\n{more}\nstart_response("200 OK", [])\nreturn wrap(file)'


def test_an_empty_file_makes_an_empty_body(run):
    run.path.write_bytes(b"")
    answer = run(EMPTY.format(path="PATH", more="")).get("/")
    assert (answer.status, answer.body, answer.complete) == (200, b"", True)


@pytest.mark.parametrize("path, more", [
    ('"/dev/null"', ""),
    pytest.param("PATH", "file.seek(200_000)", marks=pytest.mark.differs("files-that-shrink")),
])
def test_what_has_nothing_left_to_be_read_makes_an_empty_body(run, path, more):
    answer = run(EMPTY.format(path=path, more=more)).get("/")
    assert (answer.status, answer.body, answer.complete) == (200, b"", True)


def test_head_of_a_file_has_its_length_and_no_body(run):
    httpd = run(PLAIN)
    with httpd.connect() as connection:
        connection.send_request("HEAD", "/")
        answer = connection.response("HEAD")
        assert (answer.status, answer["Content-Length"]) == (200, "102400")
        connection.send_request("GET", "/")
        assert connection.response().body == CONTENT


def test_the_class_has_its_names_and_checks(run):
    answer = run("""
facts = []
one = wrap(filelike=io.BytesIO(b"abcdef"), blksize=4)
facts += [wrap is mod_wsgi.FileWrapper, one.blksize, wrap(io.BytesIO()).blksize, list(one)]
for call in (lambda: wrap(io.BytesIO(), -1), lambda: setattr(one, "blksize", 3), lambda: next(wrap(io.StringIO("text")))):
    try:
        call()
        facts.append("taken")
    except Exception as error:
        facts.append(type(error).__name__)
one.close()
try:
    one.filelike
except ValueError:
    facts.append("closed")
start_response("200 OK", [])
return [repr(facts).encode()]
""").get("/")
    assert answer.text == "[True, 4, 8192, [b'abcd', b'ef'], 'ValueError', 'AttributeError', 'TypeError', 'closed']"


# -- ranges and conditions ---------------------------------------------------------------------

VALIDATED = """
start_response("200 OK", [("Content-Type", "application/octet-stream"), ("ETag", '"v1"'),
                          ("Last-Modified", "Thu, 01 Jan 2015 00:00:00 GMT")])
return wrap(open(PATH, "rb"))
"""


@pytest.mark.differs("ranges-of-files")
@pytest.mark.parametrize("asked, status, start, end", [
    ("bytes=0-99", 206, 0, 100),
    ("bytes=100-199", 206, 100, 200),
    ("bytes=-50", 206, 102350, 102400),
    ("bytes=102000-", 206, 102000, 102400),
    ("bytes=102400-", 416, 0, 0),
])
def test_ranges_are_sent_as_of_a_static_file(run, asked, status, start, end):
    httpd = run(VALIDATED)
    answer = httpd.get("/", headers={"Range": asked})
    assert answer.status == status and answer.complete
    if status == 206:
        assert answer.body == CONTENT[start:end] and answer["Content-Length"] == str(end - start)
        assert answer["Content-Range"] == f"bytes {start}-{end - 1}/102400"


def test_a_unit_that_is_not_known_changes_nothing(run):
    answer = run(VALIDATED).get("/", headers={"Range": "lines=1-2"})
    assert (answer.status, answer.body == CONTENT) == (200, True)


@pytest.mark.differs("ranges-of-files")
def test_several_ranges_come_as_parts(run):
    answer = run(VALIDATED).get("/", headers={"Range": "bytes=0-9,1000-1009"})
    assert answer.status == 206 and "multipart/byteranges" in answer["Content-Type"]
    assert CONTENT[:10] in answer.body and CONTENT[1000:1010] in answer.body


@pytest.mark.parametrize("validator, status", [
    pytest.param('"v1"', 206, marks=pytest.mark.differs("ranges-of-files")),
    pytest.param("Thu, 01 Jan 2015 00:00:00 GMT", 206, marks=pytest.mark.differs("ranges-of-files")),
    ('"v0"', 200),
])
def test_if_range_decides_on_the_part(run, validator, status):
    answer = run(VALIDATED).get("/", headers={"Range": "bytes=0-9", "If-Range": validator})
    assert answer.status == status and answer.complete


@pytest.mark.differs("conditions-on-files")
def test_a_client_is_told_that_it_may_ask_for_ranges(run):
    assert run(VALIDATED).get("/")["Accept-Ranges"] == "bytes"


@pytest.mark.differs("conditions-on-files")
@pytest.mark.parametrize("headers, status", [
    ({"If-None-Match": '"v1"'}, 304),
    ({"If-Modified-Since": "Thu, 01 Jan 2015 00:00:00 GMT"}, 304),
    ({"If-Match": '"v0"'}, 412),
    ({"If-Unmodified-Since": "Wed, 31 Dec 2014 00:00:00 GMT"}, 412),
])
def test_conditions_are_answered_as_for_a_static_file(run, headers, status):
    httpd = run(VALIDATED)
    with httpd.connect() as connection:
        for _ in range(2):
            connection.send_request("GET", "/", list(headers.items()))
            answer = connection.response()
            assert (answer.status, answer.body, answer.complete) == (status, b"", True)
            assert answer["ETag"] == '"v1"'
        connection.send_request("GET", "/")
        assert connection.response().body == CONTENT


@pytest.mark.parametrize("headers", [
    {"If-None-Match": '"v0"'}, {"If-Modified-Since": "Wed, 31 Dec 2014 00:00:00 GMT"}, {"If-Match": '"v1"'},
])
def test_conditions_that_hold_change_nothing(run, headers):
    answer = run(VALIDATED).get("/", headers=headers)
    assert (answer.status, answer.body == CONTENT) == (200, True)


def test_a_part_the_application_made_itself_is_left_alone(run):
    answer = run("""
file = open(PATH, "rb")
file.seek(100)
start_response("206 Partial Content", [("Content-Range", "bytes 100-199/102400"), ("Content-Length", "100")])
return wrap(file)
""").get("/", headers={"Range": "bytes=100-199"})
    assert (answer.status, answer.body, answer["Content-Range"]) == (206, CONTENT[100:200], "bytes 100-199/102400")


# -- the way -----------------------------------------------------------------------------------

@pytest.mark.differs("files-free-the-thread", run=False)
def test_the_thread_is_free_while_a_slow_client_takes_the_file(run):
    run.path.write_bytes(b"x" * (64 << 20))
    httpd = run("""
start_response("200 OK", [])
return [b"quick"] if environ["PATH_INFO"] == "/quick" else wrap(open(PATH, "rb"))
""", options="threads=1")
    with httpd.connect() as slow:
        slow.send_request("GET", "/")
        assert slow.head().status == 200
        for _ in range(5):
            answer = httpd.get("/quick")
            assert answer.text == "quick" and answer.elapsed < 1 + SLACK


def test_a_file_of_more_than_4_gb_has_its_true_length(run):
    with open(run.path, "wb") as file:
        file.truncate(5 << 30)
    httpd = run("""
file = open(PATH, "rb")
file.seek(int(environ["QUERY_STRING"] or 0))
start_response("200 OK", [])
return wrap(file)
""")
    with httpd.connect() as connection:
        connection.send_request("GET", "/")
        assert connection.head()["Content-Length"] == str(5 << 30)
    assert httpd.get(f"/?{(5 << 30) - 10}").body == bytes(10)
    if httpd.is_reference:
        httpd.error_log.allow("OSError")


@pytest.mark.differs("files-that-shrink")
@pytest.mark.parametrize("lines", [["EnableSendfile Off"], ["EnableSendfile On"], ["EnableMMAP On"]])
def test_a_file_that_shrinks_on_its_way_is_broken_for_the_client(run, lines):
    size = 64 << 20
    run.path.write_bytes(b"x" * size)
    httpd = run(PLAIN, *lines)
    with httpd.connect(timeout=10) as connection:
        connection.send_request("GET", "/")
        head = connection.head()
        assert head["Content-Length"] == str(size)
        with open(run.path, "r+b") as file:
            file.truncate(1000)
        answer = connection.body(head)
        assert not answer.complete and answer.ending in ("eof", "reset")
    httpd.error_log.expect("shorter|WSGI03")
    assert httpd.get("/").body == b"x" * 1000


@pytest.mark.differs("files-that-shrink")
def test_a_file_shorter_than_its_content_length_is_broken_for_the_client(run):
    httpd = run('start_response("200 OK", [("Content-Length", "200000")])\nreturn wrap(open(PATH, "rb"))')
    answer = httpd.get("/", timeout=5)
    # Where nothing was sent yet, Apache can still say so.
    assert answer.status == 502 or (answer.body == CONTENT and answer.ending in ("eof", "reset"))
    httpd.error_log.expect("WSGI0")


def test_a_file_that_is_gone_by_its_name_is_sent(run):
    answer = run("""
file = tempfile.TemporaryFile()
file.write(open(PATH, "rb").read())
file.seek(0)
start_response("200 OK", [])
return wrap(file)
""", top="import tempfile").get("/")
    assert answer.body == CONTENT


def test_files_leave_no_descriptors_behind(run):
    httpd = run(PLAIN)

    def count():
        return sum(len(process.descriptors) for process in [*httpd.children(), *httpd.workers()])

    for _ in range(10):
        httpd.get("/")
    before = count()
    for _ in range(200):
        httpd.get("/")
    until(lambda: count() <= before + 3, 10, lambda: f"{count()} descriptors, {before} before")


def test_a_filter_may_work_on_a_file(run):
    run.path.write_bytes(b"text " * 20_000)
    httpd = run(PLAIN, "SetOutputFilter DEFLATE")
    import gzip
    answer = httpd.get("/", headers={"Accept-Encoding": "gzip"})
    assert answer.complete and gzip.decompress(answer.body) == b"text " * 20_000


def test_a_file_over_http_2(run):
    httpd = run(PLAIN, "Protocols h2c http/1.1")
    done = subprocess.run(
        ["curl", "-s", "--http2-prior-knowledge", f"http://127.0.0.1:{httpd.port}/"], capture_output=True, check=True, timeout=10
    )
    assert done.stdout == CONTENT
