"""Real applications, and the standard library's own judge (issue 2, point 5)."""

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


FLASK = """
import flask

app = application = flask.Flask(__name__)

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
    boundary = "xyzzy"
    body = io.BytesIO()
    for name, filename, value in (("name", None, b"Ann"), ("file", "a.bin", b"z" * 200_000)):
        extra = f'; filename="{filename}"' if filename else ""
        body.write(f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n\r\n'.encode() + value + b"\r\n")
    body.write(f"--{boundary}--\r\n".encode())
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    assert flask.post("/form", body.getvalue(), headers).json == {"name": "Ann", "size": 200_000}


def test_flask_reads_json_with_a_length_and_in_chunks(flask):
    headers = {"Content-Type": "application/json"}
    assert flask.post("/json", b'{"a": 1}', headers).json == {"a": 1}
    assert flask.post("/json", iter([b'{"a"', b': 1}']), headers).json == {"a": 1}


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
    subprocess.run(["chmod", "-R", "a+rX", project], check=True)
    subprocess.run(["chown", "-R", "www-data:", project], check=True)
    httpd.configure(
        f"WSGIDaemonProcess app threads=3 python-home={venv} python-path={project}",
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
