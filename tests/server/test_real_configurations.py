"""Configurations of well-known applications and tools load unchanged and serve. See tests/configurations/README.md."""

import base64
import re
import shlex
import shutil
import ssl

import pytest

import client
import pythons
from httpd import CHECKOUT, Port

CONFIGURATIONS = CHECKOUT / "tests" / "configurations"
EXPRESS = "mod_wsgi==6.1.1"


def basic(user, password):
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def host(name):
    return {"Host": name}


def site(httpd, name, venv=None):
    """Put the folder `name` in place: (its place, the lines that define what the files name)."""
    place = httpd.root / "site"
    shutil.copytree(CONFIGURATIONS / name, place)
    pythons.run(["chmod", "-R", "a+rX", place])
    return place, [
        f"Define SITE {place}", f"Define PORT {httpd.port}", f"Define VENV {venv}", f"Define APACHE_RUN {httpd.root}/run",
    ]


def serve(httpd, conf, name="plain", venv=None, own=False):
    """Serve the file `conf` with the folder `name`, which may be the workers' own."""
    place, defines = site(httpd, name, venv=venv)
    if own:
        pythons.run(["chown", "-R", "www-data:", place])
    httpd.configure(*defines, f"Include {CONFIGURATIONS / conf}.conf")
    return httpd.start()


# -- mod_wsgi-express ------------------------------------------------------------------------------

EXPRESS_APP = """
import json, os

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    found = {key: environ.get(key) for key in (
        "REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO", "REMOTE_USER", "REMOTE_ADDR", "HTTP_AUTHORIZATION",
        "wsgi.url_scheme", "mod_wsgi.process_group", "mod_wsgi.application_group")}
    found["size"] = len(environ["wsgi.input"].read())
    found["cwd"] = os.getcwd()
    return [json.dumps(found).encode()]
"""

EXPRESS_AUTH = """
def check_password(environ, user, password):
    return {"spy": "secret", "clerk": "paper"}.get(user) == password if user in ("spy", "clerk") else None

def groups_for_user(environ, user):
    return {"spy": ["agents"]}.get(user, [])

def allow_access(environ, host):
    return "X-Forbidden" not in environ.get("QUERY_STRING", "")
"""


def express(httpd, *options, entry="app.wsgi"):
    """Have `mod_wsgi-express setup-server` write a server; only the module's path is changed."""
    tool = pythons.environment(EXPRESS) / "bin" / "mod_wsgi-express"
    work = httpd.root / "work"
    for name in ("static", "documents"):
        (work / name).mkdir(parents=True, exist_ok=True)
    (work / "app.wsgi").write_text(EXPRESS_APP)
    (work / "auth.py").write_text(EXPRESS_AUTH)
    (work / "static" / "a.txt").write_text("static\n")
    (work / "documents" / "b.txt").write_text("document\n")
    made = httpd.root / "express"
    pythons.run(
        [tool, "setup-server", entry, "--server-root", made, "--host", "127.0.0.1", "--port", httpd.port,
         "--user", "www-data", "--group", "www-data", "--log-level", "info", "--log-directory", httpd.root / "logs",
         "--error-log-name", "error.log", "--locale", "C.UTF-8",
         "--document-root", work / "documents", "--url-alias", "/static", work / "static",
         *options], cwd=work,
    )
    text, count = re.subn(r"(?m)^LoadModule wsgi_module .*$", f"LoadModule wsgi_module '{httpd.module}'",
                          (made / "httpd.conf").read_text())
    assert count == 1
    (httpd.root / "httpd.conf").write_text(text)
    # What its control script gives to Apache.
    control = (made / "apachectl").read_text()
    arguments = shlex.split(re.search(r'(?m)^HTTPD_ARGS="(.*)"$', control)[1])[2:]
    httpd.environ = {
        "MOD_WSGI_MODULES_DIRECTORY": re.search(r'(?m)^MOD_WSGI_MODULES_DIRECTORY="(.*)"$', control)[1],
        "MOD_WSGI_USER": "www-data", "MOD_WSGI_GROUP": "www-data",
    }
    return httpd.start(*arguments)


def test_express_serves_the_application_and_files(httpd):
    express(httpd, "--processes", "2", "--threads", "3", "--request-timeout", "30", "--python-path", httpd.root / "work")
    got = httpd.ask("/some/path")
    assert (got["SCRIPT_NAME"], got["PATH_INFO"]) == ("", "/some/path")
    assert got["mod_wsgi.process_group"] == f"127.0.0.1:{httpd.port}"
    assert got["mod_wsgi.application_group"] == ""
    assert got["cwd"] == str(httpd.root / "work")
    assert httpd.get("/static/a.txt").text == "static\n"
    assert httpd.get("/b.txt").text == "document\n"
    assert httpd.get("/static/missing").status == 404
    assert httpd.post("/", b"x" * 100_000).json["size"] == 100_000
    assert httpd.post("/", headers={"Content-Length": "20000000"}).status == 413
    httpd.error_log.allow("WSGI0364")
    # The C module has room for the beginning of a title only.
    assert sum(process.title.startswith("(wsgi:127.0.0.1:") for process in httpd.family()) == 2
    httpd.graceful()
    assert httpd.ask("/")["PATH_INFO"] == "/"


def test_express_asks_for_passwords_and_groups(httpd):
    express(httpd, "--auth-user-script", "auth.py", "--auth-group-script", "auth.py", "--auth-group", "agents")
    for path in ("/", "/static/a.txt", "/b.txt"):
        assert httpd.get(path).status == 401
        assert httpd.get(path, headers=basic("spy", "wrong")).status == 401
        assert httpd.get(path, headers=basic("nobody", "secret")).status == 401
        assert httpd.get(path, headers=basic("clerk", "paper")).status in (401, 403)
        assert httpd.get(path, headers=basic("spy", "secret")).status == 200
    got = httpd.get("/", headers=basic("spy", "secret")).json
    assert (got["REMOTE_USER"], got["HTTP_AUTHORIZATION"][:6]) == ("spy", "Basic ")
    httpd.error_log.allow("AH0161[78]|AH01631")


def test_express_with_an_access_script(httpd):
    express(httpd, "--host-access-script", "auth.py")
    assert httpd.get("/").status == 200
    assert httpd.get("/?X-Forbidden").status == 403
    assert httpd.get("/static/a.txt?X-Forbidden").status == 403
    httpd.error_log.allow("WSGI0057")


def test_express_in_embedded_mode(httpd):
    express(httpd, "--embedded-mode", "--python-path", httpd.root / "work")
    got = httpd.ask("/some/path")
    assert (got["SCRIPT_NAME"], got["PATH_INFO"], got["mod_wsgi.process_group"]) == ("", "/some/path", "")
    assert httpd.get("/static/a.txt").text == "static\n"


def test_express_with_many_options(httpd):
    express(
        httpd, "--mount-point", "/app", "--trust-proxy-header", "X-Forwarded-For", "--server-status", "--compress-responses",
        "--chunked-request", "--maximum-requests", "1000", "--restart-interval", "600", "--inactivity-timeout", "300",
        "--shutdown-timeout", "3", "--server-metrics", "--enable-sendfile", "--access-log", "--keep-alive-timeout", "5",
        "--error-override", "--application-group", "named", "--process-group", "mine",
    )
    got = httpd.ask("/app/some/path", headers={"X-Forwarded-For": "192.0.2.7"})
    assert (got["SCRIPT_NAME"], got["PATH_INFO"], got["REMOTE_ADDR"]) == ("/app", "/some/path", "192.0.2.7")
    assert (got["mod_wsgi.process_group"], got["mod_wsgi.application_group"]) == ("mine", "named")
    assert httpd.post("/app/", iter([b"a" * 10, b"b" * 10])).json["size"] == 20
    assert httpd.get("/static/a.txt").text == "static\n"
    assert httpd.get("/server-status").status == 200


def test_express_over_https_only(httpd, tmp_path):
    secure = Port()
    certificate, key = httpd.root / "local.crt", httpd.root / "local.key"
    pythons.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=shop.example",
         "-keyout", key, "-out", certificate],
    )
    # Of the machine's packages, not of this server.
    httpd.error_log.allow("AH01882: Init: this version of mod_ssl was compiled against", "AH01873: Init: Session Cache",
                          "AH01906|AH01909")
    try:
        express(
            httpd, "--https-port", secure.number, "--ssl-certificate-file", certificate, "--ssl-certificate-key-file", key,
            "--https-only", "--hsts-policy", "max-age=600", "--server-name", "shop.example", "--allow-localhost",
            "--ssl-environment",
        )
        answer = httpd.get("/page", headers=host("shop.example"))
        assert answer.status in (301, 302)
        assert answer["Location"] == f"https://shop.example:{secure.number}/page"
        context = ssl.create_default_context(cafile=str(certificate))
        with client.Connection(secure.number) as connection:
            connection.socket = context.wrap_socket(connection.socket, server_hostname="shop.example")
            connection.send_request("GET", "/page", [("Host", f"shop.example:{secure.number}")], close=True)
            answer = connection.response()
        assert (answer.json["wsgi.url_scheme"], answer.json["PATH_INFO"]) == ("https", "/page")
        assert answer["Strict-Transport-Security"] == "max-age=600"
    finally:
        secure.close()


def test_express_asks_for_digest(httpd):
    """The hash is the hook's; what a client does with it is in test_auth_scripts.py."""
    express(httpd, "--auth-user-script", "auth.py", "--auth-type", "Digest")
    answer = httpd.get("/")
    assert (answer.status, answer["WWW-Authenticate"][:7]) == (401, "Digest ")


def test_express_with_handlers_and_services(httpd):
    work = httpd.root / "work"
    work.mkdir()
    (work / "page.py").write_text("""
def handle_request(environ, start_response):
    start_response("200 OK", [])
    return [b"page of " + environ["SCRIPT_NAME"].encode()]
""")
    (work / "service.py").write_text("""
import mod_wsgi, time
print("service in " + mod_wsgi.process_group)
while True:
    time.sleep(60)
""")
    (work / "documents").mkdir()
    (work / "documents" / "x.page").write_text("")
    express(httpd, "--add-handler", ".page", work / "page.py", "--service-script", "tasks", work / "service.py",
            "--python-warnings", "default", "--switch-interval", "0.01", "--http2")
    assert httpd.get("/x.page").text == "page of /x.page"
    assert httpd.ask("/other")["PATH_INFO"] == "/other"
    httpd.error_log.expect("service in service:tasks")


def test_express_with_telemetry_listings_and_an_own_file(httpd):
    """The lines for telemetry load; nobody listens, and requests are served all the same."""
    (httpd.root / "own.conf").write_text("Header set X-Own yes\n")
    express(
        httpd, "--telemetry-service", f"unix:{httpd.root}/telemetry", "--slow-requests", "5", "--telemetry-interval", "0.5",
        "--telemetry-options", "+CaptureUserAgent", "--include-file", httpd.root / "own.conf", "--directory-listing",
        "--error-document", "404", "/missing.html", "--allow-override", "FileInfo", "--disable-reloading",
        "--orphan-interpreter", "--max-clients", "30",
    )
    httpd.error_log.allow("WSGI0390.*Telemetry")
    answer = httpd.get("/page")
    assert (answer.json["PATH_INFO"], answer["X-Own"]) == ("/page", "yes")


@pytest.mark.parametrize("kind", ["module", "static"])
def test_express_with_another_kind_of_application(httpd, kind):
    work = httpd.root / "work"
    work.mkdir()
    (work / "shop_app.py").write_text(EXPRESS_APP)
    target = {"module": "shop_app", "static": work / "documents"}[kind]
    express(httpd, "--application-type", kind, entry=target)
    assert httpd.get("/static/a.txt").text == "static\n"
    if kind == "module":
        assert httpd.ask("/some/path")["PATH_INFO"] == "/some/path"
    else:
        assert httpd.get("/some/path").status == 404


# -- Django ----------------------------------------------------------------------------------------


@pytest.fixture
def django(httpd):
    venv = pythons.environment("django")

    def start(conf):
        place, defines = site(httpd, "django", venv=venv)
        pythons.run([venv / "bin" / "python", "fill.py"], cwd=place)
        pythons.run(["chown", "-R", "www-data:", place])
        httpd.configure(*defines, f"Include {CONFIGURATIONS / conf}.conf")
        return httpd.start()

    return start


def test_django_as_a_daemon(django):
    httpd = django("django-daemon")
    got = httpd.ask("/some/path")
    assert (got["path"], got["group"]) == ("/some/path", "example.com")
    assert httpd.get("/robots.txt").text == "User-agent: *\n"
    assert httpd.get("/static/robots.txt").status == 200


def test_django_embedded(django):
    httpd = django("django-embedded")
    got = httpd.ask("/some/path")
    assert (got["path"], got["group"]) == ("/some/path", "")


def test_django_s_users_at_apache(django):
    httpd = django("django-auth")
    assert httpd.get("/").status == 200
    for credentials in ({}, basic("bond", "wrong"), basic("nobody", "shaken"), basic("retired", "old")):
        assert httpd.get("/secret", headers=credentials).status == 401
    assert httpd.ask("/secret", headers=basic("bond", "shaken"))["user"] == "bond"
    assert httpd.ask("/secret", headers=basic("clerk", "stirred"))["user"] == "clerk"
    assert httpd.get("/secret/agents", headers=basic("clerk", "stirred")).status in (401, 403)
    assert httpd.ask("/secret/agents", headers=basic("bond", "shaken"))["user"] == "bond"
    httpd.error_log.allow("AH0161[78]|AH01631")


# -- many sites ------------------------------------------------------------------------------------


def test_mass_virtual_hosting(httpd):
    serve(httpd, "mass-virtual-hosting", "mass")
    for name in ("shop", "blog"):
        got = httpd.ask("/index.wsgi/page", headers=host(f"{name}.example"))
        assert got == {"site": name, "SCRIPT_NAME": "/index.wsgi", "PATH_INFO": "/page",
                       "mod_wsgi.application_group": f"{name}.example"}
        assert httpd.ask("/", headers=host(f"{name}.example"))["site"] == name
        assert httpd.get("/a.txt", headers=host(f"{name}.example")).text == f"a file of {name}\n"
    assert httpd.get("/index.wsgi", headers=host("other.example")).status == 404
    httpd.workers("sites", count=1)


def test_mass_virtual_hosting_with_rewrite_rules(httpd):
    serve(httpd, "mass-script-alias", "mass")
    for name in ("shop", "blog"):
        assert httpd.ask("/some/page", headers=host(f"{name}.example")) == {
            "site": name, "SCRIPT_NAME": "", "PATH_INFO": "/some/page", "mod_wsgi.application_group": f"{name}.example",
        }
    assert httpd.get("/", headers=host("other.example")).status == 404


def test_virtual_hosts_of_a_macro(httpd):
    serve(httpd, "macro", "macro")
    for name in ("red", "blue"):
        assert httpd.get("/", headers=host(f"{name}.example")).text == f"{name} app {name} {name}"
        assert httpd.get("/api/x", headers=host(f"{name}.example")).text == f"{name} api {name} {name}"
        httpd.workers(name, count=1)


# -- the files of distributions --------------------------------------------------------------------


def test_debian_s_packaged_configuration(httpd):
    serve(httpd, "debian")
    got = httpd.ask("/app/page")
    assert (got["SCRIPT_NAME"], got["PATH_INFO"], got["mod_wsgi.process_group"]) == ("/app", "/page", "")
    assert httpd.get("/style.css").text == "body {}\n"


def test_red_hat_s_packaged_configuration(httpd):
    serve(httpd, "red-hat")
    got = httpd.ask("/app/page")
    assert (got["PATH_INFO"], got["mod_wsgi.process_group"]) == ("/page", "site")
    assert httpd.get("/content/style.css").text == "body {}\n"


# -- other applications ----------------------------------------------------------------------------


def test_flask_s_page(httpd):
    serve(httpd, "flask", "flask", pythons.environment("flask"))
    assert httpd.get("/?name=Ann").text == "Hello, Ann"
    form = {"Content-Type": "application/x-www-form-urlencoded", "Host": "example.com"}
    assert httpd.post("/form", b"name=Bob", form).json == {"name": "Bob", "here": "http://example.com/"}


def test_trac_s_page(httpd):
    serve(httpd, "trac")
    got = httpd.ask("/trac/shop/wiki")
    assert (got["SCRIPT_NAME"], got["PATH_INFO"], got["REMOTE_USER"]) == ("/trac", "/shop/wiki", None)
    assert (got["mod_wsgi.process_group"], got["mod_wsgi.application_group"]) == ("", "")
    assert got["trac.env_parent_dir"] == f"{httpd.root}/site/projects"
    assert httpd.get("/trac/shop/login").status == 401
    assert httpd.get("/trac/shop/login", headers=basic("ann", "coffee")).status == 401
    assert httpd.ask("/trac/shop/login", headers=basic("ann", "tea"))["REMOTE_USER"] == "ann"
    httpd.error_log.allow("AH01617")


def test_moinmoin_s_page(httpd):
    serve(httpd, "moinmoin")
    got = httpd.ask("/mywiki/FrontPage")
    assert (got["SCRIPT_NAME"], got["PATH_INFO"], got["umask"]) == ("/mywiki", "/FrontPage", 0o007)
    assert httpd.get("/moin_static/style.css").text == "body {}\n"


def test_radicale_s_page(httpd):
    venv = pythons.environment("radicale", "wsgidav")
    serve(httpd, "radicale", "calendars", venv, own=True)
    # It says so before it has read its own level.
    httpd.error_log.allow(r"Logging (level|of backtrace)")
    ann = basic("ann", "tea")
    assert httpd.request("PROPFIND", "/ann/").status == 401
    assert httpd.request("PROPFIND", "/ann/", basic("ann", "coffee")).status == 401
    assert httpd.request("PROPFIND", "/ann/", {"Depth": "1", **ann}).status == 207
    assert httpd.request("MKCALENDAR", "/ann/work/", ann).status == 201
    event = (b"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:test\r\nBEGIN:VEVENT\r\nUID:one\r\nDTSTAMP:20260101T000000Z\r\n"
             b"DTSTART:20260102T100000Z\r\nSUMMARY:Tea\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n")
    assert httpd.request("PUT", "/ann/work/one.ics", {"Content-Type": "text/calendar", **ann}, event).status == 201
    assert "SUMMARY:Tea" in httpd.get("/ann/work/one.ics", headers=ann).text
    query = (b'<C:calendar-query xmlns:C="urn:ietf:params:xml:ns:caldav" xmlns:D="DAV:"><D:prop><C:calendar-data/></D:prop>'
             b'<C:filter><C:comp-filter name="VCALENDAR"/></C:filter></C:calendar-query>')
    answer = httpd.request("REPORT", "/ann/work/", {"Depth": "1", **ann}, query)
    assert answer.status == 207 and "SUMMARY:Tea" in answer.text
    assert httpd.request("DELETE", "/ann/work/one.ics", ann).status == 200
    assert httpd.get("/ann/work/one.ics", headers=ann).status == 404


def test_wsgidav_s_page(httpd):
    venv = pythons.environment("radicale", "wsgidav")
    serve(httpd, "wsgidav", "share", venv, own=True)
    ann = basic("ann", "tea")
    assert httpd.get("/dav/old.txt").status == 401
    assert httpd.get("/dav/old.txt", headers=ann).text == "a file\n"
    data = bytes(range(256)) * 1000
    assert httpd.request("PUT", "/dav/a%20file", ann, iter([data[:70_000], data[70_000:]])).status == 201
    assert httpd.get("/dav/a%20file", headers=ann).body == data
    assert httpd.get("/dav/a%20file", headers={"Range": "bytes=0-255", **ann}).body == data[:256]
    assert httpd.request("MKCOL", "/dav/folder", ann).status == 201
    target = {"Destination": f"http://127.0.0.1:{httpd.port}/dav/folder/moved"}
    moved = httpd.request("MOVE", "/dav/a%20file", {**target, **ann})
    assert moved.status == 201, moved.text
    listing = httpd.request("PROPFIND", "/dav/", {"Depth": "infinity", **ann})
    assert listing.status == 207 and "/dav/folder/moved" in listing.text
    lock = (b'<D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype>'
            b"</D:lockinfo>")
    locked = httpd.request("LOCK", "/dav/folder/moved", {"Timeout": "Second-60", **ann}, lock)
    assert locked.status == 200
    assert httpd.request("DELETE", "/dav/folder/moved", ann).status in (207, 423)
    assert httpd.request("UNLOCK", "/dav/folder/moved", {"Lock-Token": locked["Lock-Token"], **ann}).status == 204


def test_graphite_s_virtual_host(httpd):
    serve(httpd, "graphite")
    assert httpd.ask("/render?target=x")["mod_wsgi.process_group"] == "graphite"
    assert httpd.get("/content/style.css").text == "body {}\n"
    httpd.workers("graphite", count=2)
