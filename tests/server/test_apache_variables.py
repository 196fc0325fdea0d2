"""What Apache and its other modules see of a request for an application: the variables of CGI, in logs, in
headers, in expressions and on pages about errors (issue 10, B 5)."""

import base64

import pytest

import waiting

APPLICATION = """
def application(environ, start_response):
    if environ["PATH_INFO"] == "/raise":
        raise RuntimeError("asked for")
    status = "404 Not Here" if environ["PATH_INFO"] == "/missing" else "200 OK"
    start_response(status, [("Content-Type", "text/plain")])
    return [b"x"]
"""

FIELDS = [
    "SCRIPT_NAME", "PATH_INFO", "REQUEST_METHOD", "QUERY_STRING", "REQUEST_URI", "SERVER_PROTOCOL", "SERVER_NAME",
    "SERVER_PORT", "REMOTE_ADDR", "SCRIPT_FILENAME", "DOCUMENT_ROOT", "HTTP_X_TRACE", "HTTP_HOST", "REQUEST_SCHEME",
    "mod_wsgi.process_group", "mod_wsgi.application_group", "REMOTE_USER", "AUTH_TYPE", "OWN", "CONTENT_LENGTH",
    "CONTENT_TYPE", "HTTP_AUTHORIZATION", "HTTP_PROXY",
]


@pytest.fixture(scope="module")
def site(servers):
    httpd = servers()
    httpd.app("app.wsgi", APPLICATION)
    (httpd.root / "users").write_text("ann:{SHA}" + base64.b64encode(__import__("hashlib").sha1(b"pw").digest()).decode() + "\n")
    (httpd.root / "htdocs" / "error.shtml").write_text(
        '<!--#echo var="REDIRECT_SCRIPT_NAME" -->|<!--#echo var="REDIRECT_PATH_INFO" -->'
        '|<!--#echo var="REDIRECT_HTTP_X_TRACE" -->|<!--#echo var="REDIRECT_REMOTE_ADDR" -->'
    )
    log = "|".join(f"%{{{name}}}e" for name in FIELDS)
    httpd.configure(
        "WSGIDaemonProcess app threads=3 display-name=%{GROUP}",
        "WSGIScriptAlias /shop {apps}/app.wsgi process-group=app application-group=%{GLOBAL}",
        "WSGIScriptAlias /over {apps}/app.wsgi process-group=app application-group=%{GLOBAL}",
        f'LogFormat "{log}" fields',
        'CustomLog "{root}/logs/fields.log" fields',
        'CustomLog "{root}/logs/traced.log" "%U" env=HTTP_X_TRACE',
        'Header set X-Traced "%{HTTP_X_TRACE}e" env=HTTP_X_TRACE',
        'Header set X-Expression "expr=%{reqenv:SCRIPT_NAME}:%{reqenv:PATH_INFO}"',
        "SetEnv OWN mine", "SetEnv SCRIPT_NAME /forged",
        "<Location /shop/private>", "AuthType Basic", "AuthName x", "AuthUserFile {root}/users", "Require valid-user", "</Location>",
        "<Location /over>", "WSGIErrorOverride On", "</Location>",
        "AddType text/html .shtml", "AddOutputFilter INCLUDES .shtml",
        "<Directory {root}/htdocs>", "Options +Includes", "</Directory>",
        "ErrorDocument 500 /error.shtml", "ErrorDocument 404 /error.shtml",
    )
    return httpd.start()


def logged(site, name, count):
    path = site.root / "logs" / name
    return waiting.until(lambda: (lines := path.read_text().splitlines()) and len(lines) >= count and lines, 10, f"{count} lines of {name}")


def seen(site, *args, **options):
    """What the log says of a request."""
    path = site.root / "logs" / "fields.log"
    before = len(path.read_text().splitlines())
    answer = site.request(*args, **options)
    line = logged(site, "fields.log", before + 1)[-1]
    return answer, dict(zip(FIELDS, line.split("|"), strict=True))


def test_a_log_shows_what_the_application_is_told(site):
    _, fields = seen(site, "POST", "/shop/cart//x?a=1", {"X-Trace": "t1", "Content-Type": "text/x", "Proxy": "evil"}, b"abc")
    assert fields == {
        "SCRIPT_NAME": "/shop", "PATH_INFO": "/cart/x", "REQUEST_METHOD": "POST", "QUERY_STRING": "a=1",
        "REQUEST_URI": "/shop/cart//x?a=1", "SERVER_PROTOCOL": "HTTP/1.1", "SERVER_NAME": fields["SERVER_NAME"],
        "SERVER_PORT": str(site.port), "REMOTE_ADDR": "127.0.0.1", "SCRIPT_FILENAME": f"{site.apps}/app.wsgi",
        "DOCUMENT_ROOT": f"{site.root}/htdocs", "HTTP_X_TRACE": "t1", "HTTP_HOST": f"127.0.0.1:{site.port}",
        "REQUEST_SCHEME": "http", "mod_wsgi.process_group": "app", "mod_wsgi.application_group": "",
        "REMOTE_USER": "-", "AUTH_TYPE": "-", "OWN": "mine", "CONTENT_LENGTH": "3", "CONTENT_TYPE": "text/x",
        "HTTP_AUTHORIZATION": "-", "HTTP_PROXY": "-",
    }


def test_it_shows_the_user_and_not_the_password(site):
    secret = "Basic " + base64.b64encode(b"ann:pw").decode()
    answer, fields = seen(site, "GET", "/shop/private", {"Authorization": secret})
    assert answer.status == 200
    assert (fields["REMOTE_USER"], fields["AUTH_TYPE"], fields["HTTP_AUTHORIZATION"]) == ("ann", "Basic", "-")


def test_headers_and_logs_may_depend_on_a_header_of_the_request(site):
    assert site.get("/shop/quiet").get("X-Traced") is None
    assert site.get("/shop/traced", {"X-Trace": "t2"})["X-Traced"] == "t2"
    traced = site.root / "logs" / "traced.log"
    waiting.until(lambda: "/shop/traced" in traced.read_text().splitlines(), 10, "the line of the request")
    assert "/shop/quiet" not in traced.read_text().splitlines()


def test_expressions_see_them(site):
    assert site.get("/shop/cart")["X-Expression"] == "/shop:/cart"


@pytest.mark.parametrize("path", ["/shop/raise", "/over/missing"])
def test_the_page_about_an_error_knows_of_the_request(site, path):
    answer = site.get(path, {"X-Trace": "t3"})
    mount, _, rest = path[1:].partition("/")
    assert answer.text == f"/{mount}|/{rest}|t3|127.0.0.1"
    if rest == "raise":
        site.error_log.expect_traceback("RuntimeError: asked for")
