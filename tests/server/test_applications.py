"""Real applications, and the standard library's own judge (issue 2, point 5)."""

import hashlib
import io
import re
import subprocess

import pytest

import pythons

VALIDATED = """
from wsgiref.validate import validator

def plain(environ, start_response):
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.errors"].flush()
    answer = b"%d bytes by %s" % (len(body), environ["REQUEST_METHOD"].encode())
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(answer)))])
    if environ["PATH_INFO"] == "/write":
        return []
    return [answer]

application = validator(plain)
"""


@pytest.fixture(scope="module")
def validated(servers):
    httpd = servers()
    httpd.app("validated.wsgi", VALIDATED)
    return httpd.serve("validated.wsgi")


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS"])
def test_the_validator_of_the_standard_library_finds_nothing(validated, method):
    body = b"some bytes" if method in ("POST", "PUT") else None
    answer = validated.request(method, "/a%20b/?x=1", body=body)
    assert answer.status == 200
    if method != "HEAD":
        assert answer.text == f"{len(body or b'')} bytes by {method}"


def test_the_validator_finds_nothing_in_every_way_of_reading(httpd):
    httpd.app("reading.wsgi", """
from wsgiref.validate import validator

def reading(environ, start_response):
    stream = environ["wsgi.input"]
    got = [stream.read(3), stream.readline(), *stream.readlines(), *stream]
    write = start_response("200 OK", [("Content-Type", "text/plain")])
    write(b"".join(got))
    return [b"!"]

application = validator(reading)
""")
    httpd.serve("reading.wsgi")
    assert httpd.post("/", b"one\ntwo\nthree").text == "one\ntwo\nthree!"


def multipart(*fields):
    """A form: (name, file name or None, bytes) each. Returns headers and body."""
    boundary = "xyzzy"
    body = io.BytesIO()
    for name, filename, value in fields:
        extra = f'; filename="{filename}"' if filename else ""
        body.write(f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n\r\n'.encode() + value + b"\r\n")
    body.write(f"--{boundary}--\r\n".encode())
    return {"Content-Type": f"multipart/form-data; boundary={boundary}"}, body.getvalue()


FLASK = """
import flask

app = application = flask.Flask(__name__)
app.secret_key = "of the tests"

@app.route("/")
def hello():
    return "Hello, World!"

@app.route("/form", methods=["POST"])
def form():
    upload = flask.request.files.get("file")
    return {"name": flask.request.form.get("name"), "size": len(upload.read()) if upload else None}

@app.route("/json", methods=["POST"])
def data():
    return flask.jsonify(flask.request.get_json())

@app.route("/cookie")
def cookie():
    answer = flask.make_response(flask.request.cookies.get("seen", "never"))
    answer.set_cookie("seen", "once")
    answer.set_cookie("other", "x")
    return answer

@app.route("/stream")
def stream():
    return flask.Response((str(n) + "," for n in range(100)), mimetype="text/plain")

@app.route("/send")
def send():
    return flask.send_file(__file__, mimetype="text/plain")

@app.route("/url")
def url():
    return flask.url_for("hello", _external=True)

@app.route("/visits")
def visits():
    flask.session["visits"] = flask.session.get("visits", 0) + 1
    return flask.jsonify(flask.session["visits"])

@app.route("/upper", methods=["POST"])
def upper():
    stream = flask.request.stream
    return flask.Response(flask.stream_with_context(piece.upper() for piece in iter(lambda: stream.read(10_000), b"")))

@app.route("/broken")
def broken():
    raise LookupError("in flask")
"""


@pytest.fixture(scope="module")
def flask(servers):
    venv = pythons.environment("flask")
    httpd = servers()
    httpd.app("flask_app.wsgi", FLASK)
    httpd.configure(
        f"WSGIDaemonProcess app threads=3 python-home={venv}", "WSGIProcessGroup app", "WSGIApplicationGroup %{GLOBAL}",
        "WSGIScriptAlias /mount {apps}/flask_app.wsgi", "WSGIScriptAlias / {apps}/flask_app.wsgi", "WSGIChunkedRequest On",
    )
    return httpd.start()


def test_flask_s_start_page_works(flask):
    answer = flask.get("/")
    assert (answer.status, answer.text) == (200, "Hello, World!")
    assert answer["Content-Type"].startswith("text/html")


def test_flask_reads_forms_and_uploads(flask):
    headers, body = multipart(("name", None, b"Ann"), ("file", "a.bin", b"z" * 200_000))
    assert flask.post("/form", body, headers).json == {"name": "Ann", "size": 200_000}


def test_flask_reads_json_with_a_length_and_in_chunks(flask):
    headers = {"Content-Type": "application/json"}
    assert flask.post("/json", b'{"a": 1}', headers).json == {"a": 1}
    assert flask.post("/json", iter([b'{"a"', b': 1}']), headers).json == {"a": 1}


def test_flask_keeps_a_session(flask):
    cookie = {}
    for visit in (1, 2, 3):
        answer = flask.get("/visits", headers=cookie)
        assert answer.json == visit
        cookie = {"Cookie": answer["Set-Cookie"].partition(";")[0]}


@pytest.mark.differs("both-directions-at-once", run=False)
def test_flask_streams_what_comes_in(flask):
    data = bytes(range(256)) * 8000
    answer = flask.post("/upper", (data[at : at + 50_000] for at in range(0, len(data), 50_000)))
    assert answer.complete and answer.body == data.upper()


def test_flask_answers_a_range_of_a_file(flask):
    answer = flask.get("/send", headers={"Range": "bytes=10-19"})
    assert (answer.status, answer.text) == (206, FLASK[10:20])
    assert answer["Content-Range"] == f"bytes 10-19/{len(FLASK)}"


def test_flask_sets_and_reads_cookies(flask):
    answer = flask.get("/cookie")
    assert answer.text == "never" and len(answer.all("Set-Cookie")) == 2
    assert flask.get("/cookie", headers={"Cookie": "seen=once"}).text == "once"


def test_flask_streams_and_sends_files(flask):
    assert flask.get("/stream").text == "".join(f"{n}," for n in range(100))
    answer = flask.get("/send")
    assert answer.text == FLASK and answer.complete
    assert flask.get("/send", headers={"If-None-Match": answer["ETag"]}).status == 304


def test_flask_knows_where_it_is_mounted(flask):
    assert flask.get("/mount/url").text == f"http://127.0.0.1:{flask.port}/mount/"


def test_flask_s_error_page_and_traceback_come_out(flask):
    assert flask.get("/broken").status == 500
    flask.error_log.expect("LookupError: in flask", count=1)
    flask.error_log.expect(r"Exception on /broken \[GET\]")
    flask.error_log.allow("Traceback", r"\]\s+\S", r"\^\^\^")
    assert flask.get("/missing").status == 404


SHOP_SETTINGS = """
from .settings import *

ROOT_URLCONF = "mysite.shop"
FILE_UPLOAD_MAX_MEMORY_SIZE = 1_000_000
"""

SHOP = """
import hashlib, threading
from django.http import FileResponse, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

go = threading.Event()

def count(request):
    request.session["count"] = request.session.get("count", 0) + 1
    return JsonResponse(request.session["count"], safe=False)

@csrf_exempt
def upload(request):
    digest = hashlib.sha256()
    file = request.FILES["file"]
    for chunk in file.chunks():
        digest.update(chunk)
    return JsonResponse({"name": request.POST["name"], "file": file.name, "size": file.size, "sha256": digest.hexdigest(),
                         "kind": type(file).__name__})

@csrf_exempt
def raw(request):
    return HttpResponse(hashlib.sha256(request.read()).hexdigest(), content_type="text/plain")

def stream(request):
    def pieces():
        yield b"first"
        assert go.wait(20)
        yield b"second"
    return StreamingHttpResponse(pieces(), content_type="text/plain")

def set_go(request):
    go.set()
    return HttpResponse(status=204)

def file(request):
    return FileResponse(open(__file__, "rb"), as_attachment=True, filename="shop.py")

def broken(request):
    raise LookupError("in django")

def method(request):
    return HttpResponse(request.method + " " + request.get_full_path() + " " + request.scheme)

urlpatterns = [path("count", count), path("upload", upload), path("raw", raw), path("stream", stream), path("go", set_go),
               path("file", file), path("broken", broken), path("m\u00fcller/<name>", lambda request, name: HttpResponse(name)),
               path("method", csrf_exempt(method))]
"""


@pytest.fixture(scope="module")
def django(servers):
    venv = pythons.environment("django")
    httpd = servers()
    project = httpd.root / "project"
    project.mkdir()
    subprocess.run([venv / "bin" / "django-admin", "startproject", "mysite", project], check=True)
    settings = project / "mysite" / "settings.py"
    settings.write_text(re.sub(r"ALLOWED_HOSTS = .*", "ALLOWED_HOSTS = ['*']", settings.read_text()))
    subprocess.run([venv / "bin" / "python", project / "manage.py", "migrate", "--verbosity=0"], check=True)
    (project / "mysite" / "shop_settings.py").write_text(SHOP_SETTINGS)
    (project / "mysite" / "shop.py").write_text(SHOP)
    (project / "mysite" / "shop_wsgi.py").write_text((project / "mysite" / "wsgi.py").read_text().replace("mysite.settings", "mysite.shop_settings"))
    subprocess.run(["chmod", "-R", "a+rX", project], check=True)
    subprocess.run(["chown", "-R", "www-data:", project], check=True)
    httpd.configure(
        f"WSGIDaemonProcess app threads=3 python-home={venv} python-path={project}",
        f"WSGIDaemonProcess shop threads=3 python-home={venv} python-path={project}",
        f"WSGIScriptAlias /shop {project}/mysite/shop_wsgi.py process-group=shop application-group=%{{GLOBAL}}",
        "WSGIChunkedRequest On",
        f"WSGIScriptAlias / {project}/mysite/wsgi.py process-group=app application-group=%{{GLOBAL}}",
    )
    return httpd.start()


def test_django_s_start_page_works(django):
    answer = django.get("/")
    assert answer.status == 200
    assert "The install worked successfully" in answer.text


def test_django_s_admin_asks_for_a_login_and_checks_its_token(django):
    assert django.get("/admin/").status == 302
    page = django.get("/admin/login/")
    assert page.status == 200 and "csrftoken=" in page["Set-Cookie"]
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)[1]
    cookie = page["Set-Cookie"].partition(";")[0]
    form = f"csrfmiddlewaretoken={token}&username=ann&password=wrong".encode()
    headers = {"Cookie": cookie, "Content-Type": "application/x-www-form-urlencoded"}
    answer = django.post("/admin/login/", form, headers)
    assert answer.status == 200 and "Please enter the correct username" in answer.text
    assert django.post("/admin/login/", b"username=ann", {"Content-Type": "application/x-www-form-urlencoded"}).status == 403
    django.error_log.allow("Forbidden", "WARNING", "CSRF")


def test_django_keeps_a_session_in_its_database(django):
    cookie = {}
    for visit in (1, 2, 3, 4):
        answer = django.get("/shop/count", headers=cookie)
        assert answer.json == visit
        cookie = {"Cookie": answer["Set-Cookie"].partition(";")[0]} if visit == 1 else cookie
    assert django.get("/shop/count").json == 1


@pytest.mark.parametrize("size, kind", [(1000, "InMemoryUploadedFile"), (5_000_000, "TemporaryUploadedFile")])
def test_django_takes_uploads(django, size, kind):
    data = bytes(range(250)) * (size // 250)
    headers, body = multipart(("name", None, b"Ann"), ("file", "a.bin", data))
    got = django.post("/shop/upload", body, headers).json
    assert got == {"name": "Ann", "file": "a.bin", "size": size, "sha256": hashlib.sha256(data).hexdigest(), "kind": kind}


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_django_reads_a_raw_body(django, method):
    data = bytes(range(256)) * 5000
    answer = django.request(method, "/shop/raw", {"Content-Type": "application/octet-stream"}, data)
    assert answer.text == hashlib.sha256(data).hexdigest()


def test_django_streams_piece_by_piece(django):
    with django.connect() as connection:
        connection.send_request("GET", "/shop/stream")
        head = connection.head()
        assert head.status == 200 and (connection.line(), connection.line()) == (b"5", b"first")
        assert django.get("/shop/go").status == 204
        assert (connection.line(), connection.line()) == (b"6", b"second")
        assert connection.line() == b"0"


def test_django_sends_files(django):
    answer = django.get("/shop/file")
    assert (answer.status, answer.text, answer["Content-Length"]) == (200, SHOP, str(len(SHOP.encode())))
    assert answer["Content-Disposition"] == 'attachment; filename="shop.py"'
    head = django.request("HEAD", "/shop/file")
    assert (head.status, head.body, head["Content-Length"]) == (200, b"", str(len(SHOP.encode())))


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_django_knows_method_mount_and_scheme(django, method):
    answer = django.request(method, "/shop/method?a=%20b", body=b"" if method in ("POST", "PUT", "PATCH") else None)
    assert answer.status == 200
    if method != "HEAD":
        assert answer.text == f"{method} /shop/method?a=%20b http"


def test_django_decodes_paths(django):
    assert django.get("/shop/m%C3%BCller/%E2%82%AC").text == "\u20ac"


def test_django_s_error_page_and_traceback_come_out(django):
    assert django.get("/shop/broken").status == 500
    django.error_log.expect("LookupError: in django", count=1)
    django.error_log.allow("Internal Server Error", "Traceback", r"\]\s+\S", r"\^\^\^", r"\]\s*$")
