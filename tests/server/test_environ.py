"""The environ: which keys there are, of which type, with which value (issue 2, point 5)."""

import os
import re
import time

import pytest


@pytest.fixture(scope="module")
def site(servers):
    httpd = servers()
    httpd.configure(
        "WSGIDaemonProcess app display-name=%{GROUP} threads=3",
        "WSGIProcessGroup app",
        "WSGIApplicationGroup %{GLOBAL}",
        "WSGIScriptAlias /mount {apps}/environ.wsgi",
        "WSGIScriptAlias /auth {apps}/environ.wsgi",
        "WSGIScriptAlias / {apps}/environ.wsgi",
        "SetEnv SHOP.NAME köln",
        "SetEnv EMPTY \"\"",
        "SetEnv PATH /nowhere",
        "SetEnv QUERY_STRING from-setenv",
        "SetEnvIf X-Scheme-Is-Https yes HTTPS=on",
        "ServerAdmin admin@example.com",
        "<Location /auth>",
        "  WSGIPassAuthorization On",
        "</Location>",
    )
    return httpd.start()


@pytest.fixture
def environ(site):
    def ask(target="/", headers=(), **options):
        return {key: tuple(value) for key, value in site.ask(target, headers=headers, **options).items()}

    return ask


def text(environ, key):
    kind, value = environ[key]
    assert kind == "str", f"{key} is a {kind}"
    return value


def test_the_environ_is_a_plain_dict(environ):
    assert environ()["the environ"][0] == "dict"


def test_the_cgi_keys_of_a_plain_request_are_there(environ, site):
    got = environ("/a/b?x=1&y=%20")
    assert text(got, "REQUEST_METHOD") == "GET"
    assert text(got, "SERVER_PROTOCOL") == "HTTP/1.1"
    assert text(got, "QUERY_STRING") == "x=1&y=%20"
    assert text(got, "REQUEST_URI") == "/a/b?x=1&y=%20"
    assert text(got, "SCRIPT_NAME") == ""
    assert text(got, "PATH_INFO") == "/a/b"
    assert text(got, "SERVER_NAME") == "127.0.0.1" or text(got, "SERVER_NAME") == "localhost"
    assert text(got, "SERVER_PORT") == str(site.port)
    assert text(got, "SERVER_ADDR") == "127.0.0.1"
    assert text(got, "SERVER_SOFTWARE").startswith("Apache/2.4")
    assert text(got, "SERVER_ADMIN") == "admin@example.com"
    assert text(got, "REMOTE_ADDR") == "127.0.0.1"
    assert text(got, "REMOTE_PORT").isdigit()
    assert text(got, "REQUEST_SCHEME") == "http"
    assert text(got, "DOCUMENT_ROOT") == f"{site.root}/htdocs"
    assert text(got, "CONTEXT_PREFIX") == ""
    assert text(got, "CONTEXT_DOCUMENT_ROOT") == f"{site.root}/htdocs"
    assert text(got, "SCRIPT_FILENAME") == f"{site.apps}/environ.wsgi"


def test_a_query_string_is_there_even_when_empty(environ):
    assert text(environ("/"), "QUERY_STRING") == ""


def test_a_variable_of_setenv_does_not_replace_a_cgi_key(environ):
    assert text(environ("/?q=1"), "QUERY_STRING") == "q=1"


@pytest.mark.parametrize(
    "key",
    ["GATEWAY_INTERFACE", "PATH", "LD_LIBRARY_PATH", "PATH_TRANSLATED", "REMOTE_HOST", "REMOTE_IDENT",
     "SERVER_SIGNATURE", "HTTPS", "CONTENT_TYPE", "CONTENT_LENGTH", "AUTH_TYPE", "REMOTE_USER"],
)
def test_a_plain_request_has_no(environ, key):
    assert key not in environ("/")


def test_no_private_key_of_the_module_is_shown(environ):
    assert [key for key in environ("/") if key.startswith("mod_wsgi.x-")] == []


def test_the_wsgi_keys_have_their_types_and_values(environ):
    got = environ("/")
    assert got["wsgi.version"] == ("tuple", [1, 0])
    assert got["wsgi.url_scheme"] == ("str", "http")
    assert got["wsgi.multithread"] == ("bool", True)
    assert got["wsgi.multiprocess"] == ("bool", False)
    assert got["wsgi.run_once"] == ("bool", False)
    assert got["wsgi.input_terminated"] == ("bool", True)
    for key in ("wsgi.input", "wsgi.errors", "wsgi.file_wrapper"):
        assert key in got


def test_the_keys_of_the_module_name_group_and_callable(environ):
    got = environ("/")
    assert got["mod_wsgi.process_group"] == ("str", "app")
    assert got["mod_wsgi.application_group"] == ("str", "")
    assert got["mod_wsgi.callable_object"] == ("str", "application")
    assert got["mod_wsgi.request_handler"] == ("str", "wsgi-script")
    assert got["mod_wsgi.handler_script"] == ("str", "")
    assert got["mod_wsgi.script_name"] == ("str", "")
    assert got["mod_wsgi.path_info"] == ("str", "/")
    for key in ("apache.version", "mod_wsgi.version"):
        kind, value = got[key]
        assert kind == "tuple" and len(value) == 3 and all(isinstance(n, int) for n in value)


def test_listener_and_child_are_named_as_text(environ, site):
    got = environ("/")
    assert text(got, "mod_wsgi.listener_host") == "127.0.0.1"
    assert text(got, "mod_wsgi.listener_port") == str(site.port)
    assert int(text(got, "mod_wsgi.server_pid")) in {child.pid for child in site.children()}


def test_the_times_of_a_request_are_seconds_in_order(environ):
    before = time.time()
    got = environ("/")
    after = time.time()
    times = []
    for key in ("request_start", "queue_start", "daemon_start", "application_start"):
        kind, value = got[f"mod_wsgi.{key}"]
        assert kind == "float", key
        times.append(value)
    assert times == sorted(times)
    assert before - 0.1 <= times[0] and times[-1] <= after


def test_thread_and_request_have_their_ids(environ):
    got = environ("/")
    assert got["mod_wsgi.thread_id"][0] == "int"
    assert text(got, "mod_wsgi.request_id") != text(environ("/"), "mod_wsgi.request_id")


def test_https_in_the_environment_sets_the_scheme_and_disappears(environ):
    got = environ("/", headers={"X-Scheme-Is-Https": "yes"})
    assert got["wsgi.url_scheme"] == ("str", "https")
    assert "HTTPS" not in got


def test_a_variable_of_setenv_arrives_in_latin_1(environ):
    got = environ("/")
    assert text(got, "SHOP.NAME") == "köln".encode().decode("latin-1")
    assert text(got, "EMPTY") == ""


def test_a_mount_is_split_into_script_name_and_path_info(environ):
    got = environ("/mount/x/y")
    assert text(got, "SCRIPT_NAME") == "/mount"
    assert text(got, "PATH_INFO") == "/x/y"
    assert text(environ("/mount"), "PATH_INFO") == ""


def test_percent_signs_are_decoded_and_slashes_folded(environ):
    got = environ("//mount//a%20b///c%C3%BC")
    assert text(got, "SCRIPT_NAME") == "/mount"
    assert text(got, "PATH_INFO") == "/a b/cü".encode().decode("latin-1")
    assert text(got, "REQUEST_URI") == "//mount//a%20b///c%C3%BC"


def test_request_headers_become_http_keys(environ):
    got = environ("/", headers=[("X-One", "1"), ("x-two-words", "2"), ("X-Twice", "a"), ("X-Twice", "b"), ("Cookie", "k=v")])
    assert text(got, "HTTP_X_ONE") == "1"
    assert text(got, "HTTP_X_TWO_WORDS") == "2"
    assert text(got, "HTTP_X_TWICE") == "a, b"
    assert text(got, "HTTP_COOKIE") == "k=v"
    assert text(got, "HTTP_HOST")


def test_a_header_value_arrives_in_latin_1(environ):
    assert text(environ("/", headers={"X-Name": "k\xf6ln"}), "HTTP_X_NAME") == "k\xf6ln"


@pytest.mark.parametrize("name", ["X_One", "X.One", "X!One"])
def test_a_header_with_other_characters_than_letters_digits_and_dashes_is_dropped(environ, name):
    got = environ("/", headers={name: "smuggled"})
    assert "smuggled" not in [value[1] for value in got.values()]


def test_proxy_never_becomes_http_proxy(environ):
    assert "HTTP_PROXY" not in environ("/", headers={"Proxy": "http://evil/"})


def test_authorization_is_passed_only_where_it_was_allowed(environ):
    headers = {"Authorization": "Basic YTpi", "Proxy-Authorization": "Basic YTpi"}
    assert "HTTP_AUTHORIZATION" not in environ("/", headers=headers)
    got = environ("/auth", headers=headers)
    assert text(got, "HTTP_AUTHORIZATION") == "Basic YTpi"
    assert "HTTP_PROXY_AUTHORIZATION" not in got


def test_content_type_and_length_have_keys_without_http(site):
    answer = site.post("/", b"abc", headers={"Content-Type": "text/x-abc"})
    got = answer.json
    assert got["CONTENT_TYPE"] == ["str", "text/x-abc"]
    assert got["CONTENT_LENGTH"] == ["str", "3"]
    assert "HTTP_CONTENT_TYPE" not in got and "HTTP_CONTENT_LENGTH" not in got
    assert got["REQUEST_METHOD"] == ["str", "POST"]


def test_two_hundred_headers_arrive(httpd):
    httpd.serve("environ.wsgi", "LimitRequestFields 300")
    got = httpd.ask("/", headers=[(f"X-H{n}", f"v{n}") for n in range(200)])
    assert all(got[f"HTTP_X_H{n}"] == ["str", f"v{n}"] for n in range(200))


def test_an_environ_of_470_kilobytes_arrives(httpd):
    httpd.serve("environ.wsgi", "LimitRequestFieldSize 60000", "LimitRequestFields 300")
    value = "x" * 47000
    got = httpd.ask("/", headers=[(f"X-H{n}", value) for n in range(10)])
    assert all(got[f"HTTP_X_H{n}"] == ["str", value] for n in range(10))


def test_multiprocess_is_true_as_soon_as_processes_is_given(httpd):
    httpd.serve("environ.wsgi", options="processes=1 threads=1")
    got = httpd.ask("/")
    assert got["wsgi.multiprocess"] == ["bool", True]
    assert got["wsgi.multithread"] == ["bool", False]


def test_basic_authentication_of_apache_is_shown(httpd):
    httpd.app("passwords", "ann:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n")  # "password"
    httpd.serve(
        "environ.wsgi", "<Location />", "AuthType Basic", "AuthName shop", "AuthBasicProvider file",
        "AuthUserFile {apps}/passwords", "Require valid-user", "</Location>",
    )
    assert httpd.get("/").status == 401
    got = httpd.ask("/", headers={"Authorization": "Basic YW5uOnBhc3N3b3Jk"})
    assert got["REMOTE_USER"] == ["str", "ann"]
    assert got["AUTH_TYPE"] == ["str", "Basic"]
    assert "HTTP_AUTHORIZATION" not in got


def test_a_redirect_of_apache_leaves_its_keys(httpd):
    httpd.serve("environ.wsgi", "RewriteEngine On", "RewriteRule ^/old/(.*)$ /new/$1?from=old [PT,E=CAME:old]")
    got = httpd.ask("/old/page")
    assert got["PATH_INFO"] == ["str", "/new/page"]
    assert got["REQUEST_URI"] == ["str", "/old/page"]
    assert got["CAME"] == ["str", "old"]


def test_the_script_filename_is_decoded_as_a_file_name(httpd):
    httpd.app("grün.wsgi", (httpd.apps / "environ.wsgi").read_text())
    httpd.serve("grün.wsgi", options="threads=2 lang=C.UTF-8 locale=C.UTF-8")
    got = httpd.ask("/")
    assert os.path.basename(got["SCRIPT_FILENAME"][1]) == "grün.wsgi"


def test_every_key_and_every_text_value_is_str(environ):
    got = environ("/mount?x", headers={"X-One": "1"})
    own = re.compile(r"wsgi\.|mod_wsgi\.|apache\.|the environ")
    assert {value[0] for key, value in got.items() if not own.match(key)} == {"str"}


EVERY = {
    # Key of behaviour §4.2: its type.
    "REQUEST_METHOD": "str", "SERVER_PROTOCOL": "str", "QUERY_STRING": "str", "REQUEST_URI": "str", "SCRIPT_NAME": "str",
    "PATH_INFO": "str", "SERVER_NAME": "str", "SERVER_PORT": "str", "SERVER_ADDR": "str", "SERVER_SOFTWARE": "str",
    "SERVER_ADMIN": "str", "REMOTE_ADDR": "str", "REMOTE_PORT": "str", "DOCUMENT_ROOT": "str", "CONTEXT_PREFIX": "str",
    "CONTEXT_DOCUMENT_ROOT": "str", "SCRIPT_FILENAME": "str", "REQUEST_SCHEME": "str", "HTTP_HOST": "str",
    "wsgi.version": "tuple", "wsgi.url_scheme": "str", "wsgi.input_terminated": "bool", "wsgi.multithread": "bool",
    "wsgi.multiprocess": "bool", "wsgi.run_once": "bool", "apache.version": "tuple", "mod_wsgi.version": "tuple",
    "mod_wsgi.process_group": "str", "mod_wsgi.application_group": "str", "mod_wsgi.callable_object": "str",
    "mod_wsgi.request_handler": "str", "mod_wsgi.handler_script": "str", "mod_wsgi.script_name": "str",
    "mod_wsgi.path_info": "str", "mod_wsgi.listener_host": "str", "mod_wsgi.listener_port": "str",
    "mod_wsgi.server_pid": "str", "mod_wsgi.request_id": "str", "mod_wsgi.request_start": "float",
    "mod_wsgi.queue_start": "float", "mod_wsgi.daemon_start": "float", "mod_wsgi.application_start": "float",
    "mod_wsgi.thread_id": "int",
}


@pytest.mark.parametrize("key", sorted(EVERY))
def test_every_key_has_its_type(environ, key):
    assert environ("/")[key][0] == EVERY[key]


def test_nothing_else_is_in_the_environ_of_a_plain_request(environ, site):
    objects = {"wsgi.input", "wsgi.errors", "wsgi.file_wrapper", "the environ", "SHOP.NAME", "EMPTY"}
    ours = {"wsgi.early_hints", "mod_wsgi.posthooks"}
    extra = set(environ("/")) - set(EVERY) - objects - (set() if site.is_reference else ours)
    # What a client of this suite sends besides Host.
    assert extra <= {"HTTP_CONNECTION"}, extra


def test_a_connection_has_an_id_only_where_it_was_given_one(environ):
    assert environ("/").get("mod_wsgi.connection_id", ("str",))[0] == "str"


def test_run_once_is_true_where_a_process_serves_one_request(httpd):
    httpd.error_log.allow("maximum-requests.*no effect", "without effect.*maximum-requests")
    httpd.serve("environ.wsgi", options="threads=1 maximum-requests=1")
    assert httpd.ask("/")["wsgi.run_once"] == ["bool", True]


def test_the_first_of_two_overlapping_aliases_wins(httpd):
    httpd.app("inner.wsgi", (httpd.apps / "environ.wsgi").read_text())
    httpd.configure(
        "WSGIDaemonProcess app threads=2", "WSGIProcessGroup app",
        "WSGIScriptAlias /a/b {apps}/inner.wsgi", "WSGIScriptAlias /a {apps}/environ.wsgi",
    ).start()
    for target, script, name, path in [
        ("/a/b/c", "inner.wsgi", "/a/b", "/c"),
        ("/a//b//c", "inner.wsgi", "/a/b", "/c"),
        ("/a/bc", "environ.wsgi", "/a", "/bc"),
        ("/a", "environ.wsgi", "/a", ""),
        ("/a/", "environ.wsgi", "/a", "/"),
        ("/a/%62/c", "inner.wsgi", "/a/b", "/c"),
        ("/a/x%2e%2ey", "environ.wsgi", "/a", "/x..y"),
    ]:
        got = httpd.ask(target)
        assert os.path.basename(got["SCRIPT_FILENAME"][1]) == script, target
        assert (got["SCRIPT_NAME"][1], got["PATH_INFO"][1]) == (name, path), target
        assert got["REQUEST_URI"][1] == target


@pytest.mark.parametrize(
    "path, decoded",
    [("/%25", "/%"), ("/%252F", "/%2F"), ("/a%3Fb", "/a?b"), ("/%23", "/#"), ("/a+b", "/a+b"), ("/%C3%BC", "/\xc3\xbc"),
     ("/%FF%80", "/\xff\x80"), ("/~%7e", "/~~"), ("/a;b=c", "/a;b=c"), ("/a/./b/../c", "/a/c")],
)
def test_the_path_is_decoded_once(environ, path, decoded):
    got = environ(path)
    assert text(got, "PATH_INFO") == decoded
    assert text(got, "REQUEST_URI") == path


@pytest.mark.parametrize("query", ["", "?", "?a", "?a=%26&a=%C3%BC", "?a=b?c", "?%"])
def test_the_query_is_not_decoded(environ, query):
    got = environ(f"/{query}")
    assert text(got, "QUERY_STRING") == query[1:]
    assert text(got, "REQUEST_URI") == f"/{query}"


def test_an_absolute_target_names_the_same_resource(environ, site):
    got = environ(f"http://other.example:{site.port}/x?y")
    assert text(got, "PATH_INFO") == "/x"
    assert text(got, "QUERY_STRING") == "y"
    assert text(got, "REQUEST_URI") == f"http://other.example:{site.port}/x?y"


def test_a_header_folds_its_duplicates_in_their_order(environ):
    got = environ("/", headers=[("Accept", "a"), ("X-Other", "1"), ("ACCEPT", "b"), ("accept", "c")])
    assert text(got, "HTTP_ACCEPT") == "a, b, c"


def test_header_names_that_differ_in_dash_and_underscore_do_not_meet(environ):
    got = environ("/", headers=[("X-User", "right"), ("X_User", "wrong")])
    assert text(got, "HTTP_X_USER") == "right"


def test_an_empty_header_is_an_empty_value(environ):
    assert text(environ("/", headers=[("X-Empty", "")]), "HTTP_X_EMPTY") == ""


def test_a_client_cannot_set_keys_of_the_module(environ):
    headers = [("Mod-Wsgi.Process-Group", "evil"), ("Wsgi-Url-Scheme", "https"), ("Remote-User", "root"), ("Script-Name", "/evil")]
    got = environ("/", headers=headers)
    assert got["mod_wsgi.process_group"] == ("str", "app")
    assert got["wsgi.url_scheme"] == ("str", "http")
    assert "REMOTE_USER" not in got and text(got, "SCRIPT_NAME") == ""
    assert text(got, "HTTP_REMOTE_USER") == "root"


def test_the_times_are_those_of_this_request(environ):
    first, second = environ("/"), environ("/")
    assert first["mod_wsgi.application_start"][1] <= second["mod_wsgi.request_start"][1]
    assert second["mod_wsgi.application_start"][1] - second["mod_wsgi.request_start"][1] < 5


def test_a_request_of_http_1_0_says_so(environ):
    got = environ("/", version="HTTP/1.0")
    assert text(got, "SERVER_PROTOCOL") == "HTTP/1.0"


@pytest.mark.parametrize("method", ["OPTIONS", "DELETE", "PATCH", "PROPFIND", "PURGE"])
def test_any_method_reaches_the_application(site, method):
    answer = site.request(method, "/")
    assert answer.json["REQUEST_METHOD"] == ["str", method]


# -- what configuration changes ------------------------------------------------------------------

PLACES = {
    "/current-uri": ["CGIVar REQUEST_URI current-uri"],
    "/pass-auth": ["CGIPassAuth On"],
    "/canonical": ["UseCanonicalName On"],
    "/not-canonical": ["UseCanonicalName Off"],
    "/https-1": ["SetEnv HTTPS 1"],
    "/https-on": ["SetEnv HTTPS ON"],
    "/https-off": ["SetEnv HTTPS off"],
    "/https-yes": ["SetEnv HTTPS yes"],
    "/same-names": ["SetEnv HTTP_X_ONE variable", "SetEnv REMOTE_ADDR 1.2.3.4", "SetEnv SCRIPT_NAME /evil", "SetEnv wsgi.url_scheme gopher",
                    "SetEnv mod_wsgi.process_group other"],
    "/passed": ["PassEnv WSGI_TEST_PASSED"],
}


@pytest.fixture(scope="module")
def places(servers):
    httpd = servers()
    httpd.environ["WSGI_TEST_PASSED"] = "from the start"
    lines = [f"<Location {place}>\n" + "\n".join(said) + "\n</Location>" for place, said in PLACES.items()]
    return httpd.serve(
        "environ.wsgi", *lines, "ServerName canonical.example:8080", "AllowEncodedSlashes NoDecode", "RewriteEngine On",
        "RewriteRule ^/rewritten/(.*)$ /current-uri/$1 [PT]", "RewriteRule ^/plainly-rewritten/(.*)$ /plain/$1 [PT]",
    )


def test_cgivar_chooses_which_uri_is_shown(places):
    assert places.ask("/rewritten/a?b")["REQUEST_URI"] == ["str", "/current-uri/a"]
    assert places.ask("/plainly-rewritten/a?b")["REQUEST_URI"] == ["str", "/plainly-rewritten/a?b"]


def test_cgipassauth_passes_both_kinds(places):
    headers = {"Authorization": "Basic YTpi", "Proxy-Authorization": "Basic Yzpk"}
    got = places.ask("/pass-auth", headers=headers)
    assert got["HTTP_AUTHORIZATION"] == ["str", "Basic YTpi"]
    assert got["HTTP_PROXY_AUTHORIZATION"] == ["str", "Basic Yzpk"]
    assert "HTTP_AUTHORIZATION" not in places.ask("/plain", headers=headers)


def test_the_server_s_name_and_port_obey_usecanonicalname(places):
    host = {"Host": "<evil>.example:99"}
    got = places.ask("/canonical", headers={"Host": "other.example:99"})
    assert (got["SERVER_NAME"][1], got["SERVER_PORT"][1]) == ("canonical.example", "8080")
    assert got["HTTP_HOST"] == ["str", "other.example:99"]
    got = places.ask("/not-canonical", headers={"Host": "other.example:99"})
    assert (got["SERVER_NAME"][1], got["SERVER_PORT"][1]) == ("other.example", "99")
    # Such a host httpd itself refuses; if ever it did not, it would be escaped.
    assert places.get("/not-canonical", headers=host).status == 400
    places.error_log.allow("AH0")


@pytest.mark.parametrize("place, scheme", [("/https-1", "https"), ("/https-on", "https"), ("/https-off", "http"), ("/https-yes", "http")])
def test_a_variable_https_decides_on_the_scheme(places, place, scheme):
    got = places.ask(place)
    assert got["wsgi.url_scheme"] == ["str", scheme]
    assert "HTTPS" not in got


def test_variables_do_not_stand_in_for_what_the_request_says(places):
    got = places.ask("/same-names/x", headers={"X-One": "header"})
    assert got["REMOTE_ADDR"] == ["str", "127.0.0.1"]
    assert got["SCRIPT_NAME"] == ["str", ""] and got["PATH_INFO"] == ["str", "/same-names/x"]
    assert got["wsgi.url_scheme"] == ["str", "http"]
    assert got["mod_wsgi.process_group"] == ["str", "app"]
    assert got["HTTP_X_ONE"] == ["str", "header"]


def test_passenv_passes_what_apache_was_started_with(places):
    assert places.ask("/passed")["WSGI_TEST_PASSED"] == ["str", "from the start"]
    assert "WSGI_TEST_PASSED" not in places.ask("/plain")


def test_an_encoded_slash_stays_where_it_is_kept(places):
    got = places.ask("/a%2Fb%20c")
    assert got["PATH_INFO"] == ["str", "/a%2Fb c"]
    assert got["REQUEST_URI"] == ["str", "/a%2Fb%20c"]


def test_the_request_id_is_the_one_of_mod_unique_id(httpd):
    httpd.serve("environ.wsgi", 'LogFormat "%{UNIQUE_ID}e" own', "CustomLog {root}/logs/ids.log own")
    got = httpd.ask("/")
    assert got["UNIQUE_ID"][0] == "str" and got["UNIQUE_ID"][1] == got["mod_wsgi.request_id"][1]


def test_a_document_root_is_decoded_as_a_file_name(httpd):
    (httpd.root / "grün").mkdir()
    httpd.serve("environ.wsgi", 'DocumentRoot "{root}/grün"', options="threads=2 lang=C.UTF-8 locale=C.UTF-8")
    got = httpd.ask("/")
    assert got["DOCUMENT_ROOT"] == ["str", f"{httpd.root}/grün"]
    # Not named among those that are file names.
    assert got["CONTEXT_DOCUMENT_ROOT"] == ["str", f"{httpd.root}/grün".encode().decode("latin-1")]


def test_an_error_page_is_told_where_it_comes_from(httpd):
    httpd.app("errors.wsgi", (httpd.apps / "environ.wsgi").read_text())
    httpd.configure(
        "WSGIDaemonProcess app threads=2", "WSGIProcessGroup app", "ErrorDocument 404 /errors/page",
        "WSGIScriptAlias /errors {apps}/errors.wsgi",
    ).start()
    answer = httpd.get("/missing?a=b", headers={"X-One": "1"})
    got = answer.json
    assert answer.status == 200 or answer.status == 404
    assert (got["REDIRECT_URL"], got["REDIRECT_QUERY_STRING"], got["REDIRECT_STATUS"]) == (["str", "/missing"], ["str", "a=b"], ["str", "404"])
    assert (got["SCRIPT_NAME"][1], got["PATH_INFO"][1], got["REQUEST_METHOD"][1]) == ("/errors", "/page", "GET")
    assert got["REQUEST_URI"] == ["str", "/missing?a=b"] and got["HTTP_X_ONE"] == ["str", "1"]


def test_over_ipv6_addresses_have_no_brackets(httpd):
    import client
    import socket as sockets

    try:
        probe = sockets.socket(sockets.AF_INET6)
        probe.bind(("::1", 0))
        probe.close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    httpd.serve("environ.wsgi", f"Listen [::1]:{httpd.port}")
    with client.Connection(httpd.port, host="::1") as connection:
        connection.send_request("GET", "/", [("Host", f"[::1]:{httpd.port}")], close=True)
        got = connection.response().json
    assert got["REMOTE_ADDR"] == ["str", "::1"] and got["SERVER_ADDR"] == ["str", "::1"]
    assert got["mod_wsgi.listener_host"] == ["str", "::1"]
    assert got["HTTP_HOST"] == ["str", f"[::1]:{httpd.port}"]
