"""WSGITrustedProxies and WSGITrustedProxyHeaders: who is believed, and what the application sees
(issue 3, point 9; the proxy section of seed 002)."""

import pytest

import pythons
from waiting import SLACK

EVERY_HEADER = [
    "X-Forwarded-For", "X-Client-IP", "X-Real-IP", "X-Forwarded-Host", "X-Host", "X-Forwarded-Server",
    "X-Forwarded-Port", "X-Script-Name", "X-Forwarded-Script-Name", "X-Forwarded-Proto", "X-Forwarded-Scheme",
    "X-Scheme", "X-Forwarded-HTTPS", "X-Forwarded-SSL", "X-HTTPS",
]
FORGED = {
    "X-Forwarded-For": "1.2.3.4", "X-Client-IP": "1.2.3.4", "X-Real-IP": "1.2.3.4",
    "X-Forwarded-Host": "evil.example", "X-Host": "evil.example", "X-Forwarded-Server": "evil.example",
    "X-Forwarded-Port": "6666", "X-Script-Name": "/evil", "X-Forwarded-Script-Name": "/evil",
    "X-Forwarded-Proto": "https", "X-Forwarded-Scheme": "https", "X-Scheme": "https",
    "X-Forwarded-HTTPS": "on", "X-Forwarded-SSL": "on", "X-HTTPS": "1",
}

# Locations of one server. The tests' client comes from 127.0.0.1.
PLACES = {
    "/plain": [],
    "/only-proxies": ["WSGITrustedProxies 127.0.0.1"],
    "/unknown-header": ["WSGITrustedProxyHeaders X-Other"],
    "/anybody": [f"WSGITrustedProxyHeaders {' '.join(EVERY_HEADER)}"],
    "/proxy": [f"WSGITrustedProxyHeaders {' '.join(EVERY_HEADER)}", "WSGITrustedProxies 127.0.0.0/8 10.0.0.0/8 2001:db8:aa::/48"],
    "/stranger": [f"WSGITrustedProxyHeaders {' '.join(EVERY_HEADER)}", "WSGITrustedProxies 192.0.2.0/24"],
    "/stranger-for": ["WSGITrustedProxyHeaders X-Forwarded-For", "WSGITrustedProxies 192.0.2.0/24 2001:db8::/32"],
    "/for": ["WSGITrustedProxyHeaders X-Forwarded-For", "WSGITrustedProxies 127.0.0.1 10.0.0.0/8 2001:db8:aa::/48"],
    "/for-anybody": ["WSGITrustedProxyHeaders X-Forwarded-For"],
    "/order": ["WSGITrustedProxyHeaders X-Forwarded-For X-Real-IP"],
    "/proto": ["WSGITrustedProxyHeaders X-Forwarded-Proto", "WSGITrustedProxies 127.0.0.1"],
    "/proto-over-variable": ["SetEnv HTTPS on", "WSGITrustedProxyHeaders X-Forwarded-Proto", "WSGITrustedProxies 127.0.0.1"],
    "/lists": ["WSGITrustedProxyHeaders X-Forwarded-For X-Forwarded-Host X-Forwarded-Proto", "WSGITrustedProxies 127.0.0.1 10.0.0.0/8"],
    "/forwarded": ["WSGITrustedProxyHeaders Forwarded", "WSGITrustedProxies 127.0.0.1 10.0.0.0/8 2001:db8:aa::/48"],
    "/stranger-forwarded": ["WSGITrustedProxyHeaders Forwarded", "WSGITrustedProxies 192.0.2.0/24"],
}


@pytest.fixture(scope="module")
def site(servers):
    httpd = servers()
    lines = [f"<Location {place}>\n" + "\n".join(said) + "\n</Location>" for place, said in PLACES.items()]
    return httpd.serve("environ.wsgi", *lines, options="threads=3")


@pytest.fixture
def environ(site):
    def ask(target, headers=()):
        return {key: value for key, (_, value) in site.ask(target, headers=headers).items()}

    return ask


def key_of(header):
    return "HTTP_" + header.upper().replace("-", "_")


@pytest.mark.parametrize("place", ["/plain", "/only-proxies", "/unknown-header"])
def test_without_listed_headers_all_pass_and_nothing_changes(environ, site, place):
    got = environ(place, FORGED)
    for header, value in FORGED.items():
        assert got[key_of(header)] == value
    assert got["REMOTE_ADDR"] == "127.0.0.1"
    assert got["HTTP_HOST"] == f"127.0.0.1:{site.port}"
    assert got["SERVER_PORT"] == str(site.port)
    assert got["SCRIPT_NAME"] == ""
    assert got["wsgi.url_scheme"] == "http"
    assert "mod_wsgi.mount_point" not in got


@pytest.mark.parametrize("place", ["/anybody", "/proxy"])
@pytest.mark.parametrize(
    "header, value, key, expected",
    [
        ("X-Forwarded-For", "203.0.113.9", "REMOTE_ADDR", "203.0.113.9"),
        ("X-Client-IP", "203.0.113.9", "REMOTE_ADDR", "203.0.113.9"),
        ("X-Real-IP", "2001:db8::9", "REMOTE_ADDR", "2001:db8::9"),
        ("X-Forwarded-Host", "shop.example:8443", "HTTP_HOST", "shop.example:8443"),
        ("X-Host", "shop.example", "HTTP_HOST", "shop.example"),
        ("X-Forwarded-Server", "front.example", "SERVER_NAME", "front.example"),
        ("X-Forwarded-Port", "8443", "SERVER_PORT", "8443"),
        ("X-Script-Name", "/front", "SCRIPT_NAME", "/front"),
        ("X-Forwarded-Script-Name", "/front", "mod_wsgi.mount_point", "/front"),
        ("X-Forwarded-Proto", "https", "wsgi.url_scheme", "https"),
        ("X-Forwarded-Proto", "HTTPS", "wsgi.url_scheme", "https"),
        ("X-Forwarded-Proto", "gopher", "wsgi.url_scheme", "http"),
        ("X-Forwarded-Scheme", "https", "wsgi.url_scheme", "https"),
        ("X-Scheme", "https", "wsgi.url_scheme", "https"),
        ("X-Forwarded-HTTPS", "on", "wsgi.url_scheme", "https"),
        ("X-Forwarded-SSL", "TRUE", "wsgi.url_scheme", "https"),
        ("X-HTTPS", "1", "wsgi.url_scheme", "https"),
        ("X-HTTPS", "off", "wsgi.url_scheme", "http"),
    ],
)
def test_a_header_that_is_believed_says_what_it_says(environ, place, header, value, key, expected):
    got = environ(place, {header: value})
    assert got[key] == expected
    assert got[key_of(header)] == value
    assert "HTTPS" not in got


def test_the_script_and_path_before_a_mount_point_are_kept(environ):
    got = environ("/proxy/a", {"X-Script-Name": "/front"})
    assert (got["SCRIPT_NAME"], got["PATH_INFO"]) == ("/front", "/proxy/a")
    assert (got["mod_wsgi.script_name"], got["mod_wsgi.path_info"]) == ("", "/proxy/a")


def test_a_scheme_of_a_proxy_overrules_a_variable(environ):
    assert environ("/proto-over-variable")["wsgi.url_scheme"] == "https"
    assert environ("/proto-over-variable", {"X-Forwarded-Proto": "http"})["wsgi.url_scheme"] == "http"


def test_a_stranger_is_not_believed_and_every_synonym_is_taken_away(environ, site):
    got = environ("/stranger", FORGED)
    assert [key for key in map(key_of, FORGED) if key in got] == []
    assert got["REMOTE_ADDR"] == "127.0.0.1"
    assert got["HTTP_HOST"] == f"127.0.0.1:{site.port}"
    assert got["SCRIPT_NAME"] == ""
    assert got["wsgi.url_scheme"] == "http"
    assert "mod_wsgi.mount_point" not in got


def test_a_stranger_loses_the_kinds_that_are_listed_and_no_other(environ):
    got = environ("/stranger-for", FORGED)
    gone = {header for header in FORGED if key_of(header) not in got}
    assert gone == {"X-Forwarded-For", "X-Client-IP", "X-Real-IP"}
    assert got["REMOTE_ADDR"] == "127.0.0.1"


def test_of_a_kind_only_the_listed_header_reaches_the_application(environ):
    got = environ("/proto", {"X-Forwarded-Proto": "https", "X-Forwarded-SSL": "off", "X-Scheme": "http"})
    assert got["wsgi.url_scheme"] == "https"
    assert got["HTTP_X_FORWARDED_PROTO"] == "https"
    assert "HTTP_X_FORWARDED_SSL" not in got and "HTTP_X_SCHEME" not in got
    got = environ("/proto", {"X-Forwarded-SSL": "on"})
    assert got["wsgi.url_scheme"] == "http"
    assert "HTTP_X_FORWARDED_SSL" not in got


def test_the_last_of_the_listed_headers_wins(environ):
    got = environ("/order", [("X-Real-IP", "203.0.113.2"), ("X-Forwarded-For", "203.0.113.1")])
    assert got["REMOTE_ADDR"] == "203.0.113.2"
    assert got["HTTP_X_REAL_IP"] == "203.0.113.2"
    assert "HTTP_X_FORWARDED_FOR" not in got
    got = environ("/order", {"X-Forwarded-For": "203.0.113.1"})
    assert got["REMOTE_ADDR"] == "203.0.113.1"


def test_a_name_with_underscores_does_not_pass_for_a_header(environ):
    got = environ("/for", {"X_Forwarded_For": "1.2.3.4"})
    assert got["REMOTE_ADDR"] == "127.0.0.1"
    assert "HTTP_X_FORWARDED_FOR" not in got


@pytest.mark.parametrize(
    "sent, client, seen",
    [
        ("203.0.113.9", "203.0.113.9", "203.0.113.9"),
        ("203.0.113.9, 10.0.0.2", "203.0.113.9", "203.0.113.9, 10.0.0.2"),
        ("203.0.113.9,10.0.0.2 ,10.0.0.3", "203.0.113.9", "203.0.113.9, 10.0.0.2, 10.0.0.3"),
        ("1.2.3.4, 203.0.113.9", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.9, 203.0.113.9, 10.0.0.2", "203.0.113.9", "203.0.113.9, 10.0.0.2"),
        ("127.0.0.1, 203.0.113.9", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.8, 10.0.0.9", "10.0.0.8", "10.0.0.8, 10.0.0.9"),
        ("203.0.113.9,,10.0.0.2", "203.0.113.9", "203.0.113.9, 10.0.0.2"),
        (", 203.0.113.9, ,", "203.0.113.9", "203.0.113.9"),
        ("2001:db8::9, 2001:db8:aa::1", "2001:db8::9", "2001:db8::9, 2001:db8:aa::1"),
    ],
)
def test_the_client_is_whom_the_last_trusted_proxy_names(environ, sent, client, seen):
    got = environ("/for", {"X-Forwarded-For": sent})
    assert got["REMOTE_ADDR"] == client
    assert got["HTTP_X_FORWARDED_FOR"] == seen


def test_two_lines_of_a_header_are_one_list(environ):
    got = environ("/for", [("X-Forwarded-For", "1.2.3.4"), ("X-Forwarded-For", "203.0.113.9"), ("X-Forwarded-For", "10.0.0.2")])
    assert got["REMOTE_ADDR"] == "203.0.113.9"
    assert got["HTTP_X_FORWARDED_FOR"] == "203.0.113.9, 10.0.0.2"


def test_without_known_proxies_the_first_item_is_the_client_and_the_list_stays(environ):
    got = environ("/for-anybody", {"X-Forwarded-For": ",203.0.113.9, 10.0.0.2"})
    assert got["REMOTE_ADDR"] == "203.0.113.9"
    assert got["HTTP_X_FORWARDED_FOR"] == ",203.0.113.9, 10.0.0.2"


@pytest.mark.differs("forwarded-ports")
@pytest.mark.parametrize(
    "sent, client",
    [
        ("203.0.113.9:567", "203.0.113.9"),
        ("203.0.113.9:567, 10.0.0.2:80", "203.0.113.9"),
        ("[2001:db8::9]:567", "2001:db8::9"),
        ("[2001:db8::9], [2001:db8:aa::1]:80", "2001:db8::9"),
    ],
)
def test_an_address_with_a_port_is_an_address(environ, sent, client):
    assert environ("/for", {"X-Forwarded-For": sent})["REMOTE_ADDR"] == client
    assert environ("/for-anybody", {"X-Forwarded-For": sent})["REMOTE_ADDR"] == client


@pytest.mark.differs("forwarded-values-checked")
@pytest.mark.parametrize(
    "header, value, key",
    [
        ("X-Forwarded-For", "unknown", "REMOTE_ADDR"),
        ("X-Forwarded-For", "203.0.113.9, _hidden", "REMOTE_ADDR"),
        ("X-Real-IP", "<script>", "REMOTE_ADDR"),
        ("X-Client-IP", "203.0.113", "REMOTE_ADDR"),
        ("X-Forwarded-Host", 'shop.example"><script>', "HTTP_HOST"),
        ("X-Host", "user@shop.example", "HTTP_HOST"),
        ("X-Forwarded-Server", "a/b", "SERVER_NAME"),
        ("X-Forwarded-Port", "0", "SERVER_PORT"),
        ("X-Forwarded-Port", "https", "SERVER_PORT"),
        ("X-Script-Name", "http://evil.example", "SCRIPT_NAME"),
        ("X-Script-Name", "/\\evil.example", "SCRIPT_NAME"),
    ],
)
def test_a_value_that_cannot_be_what_it_should_be_changes_nothing(environ, header, value, key):
    assert environ("/proxy", {header: value})[key] == environ("/proxy")[key]


@pytest.mark.differs("forwarded-values-checked")
def test_a_mount_point_does_not_lead_to_another_server(environ):
    assert environ("/proxy", {"X-Script-Name": "//evil.example/a"})["SCRIPT_NAME"] == "/evil.example/a"


@pytest.mark.differs("forwarded-values-checked")
def test_behind_a_proxy_that_tells_no_address_the_proxy_is_the_farthest_that_is_known(environ):
    got = environ("/for", {"X-Forwarded-For": "203.0.113.9, unknown, 10.0.0.2"})
    assert got["REMOTE_ADDR"] == "10.0.0.2"


def test_what_a_proxy_that_tells_no_address_has_written_is_seen(environ):
    got = environ("/for", {"X-Forwarded-For": "203.0.113.9, unknown, 10.0.0.2"})
    assert got["HTTP_X_FORWARDED_FOR"] == "unknown, 10.0.0.2"


@pytest.mark.differs("forwarded-lists")
@pytest.mark.parametrize(
    "addresses, hosts, protos",
    [
        ("203.0.113.9", "evil.example, shop.example", "http, https"),
        ("203.0.113.9, 10.0.0.2", "shop.example, inner.example", "https, http"),
        ("1.2.3.4, 203.0.113.9, 10.0.0.2", "evil.example, shop.example, inner.example", "http, https, http"),
    ],
)
def test_lists_are_read_where_the_client_stands(environ, addresses, hosts, protos):
    got = environ("/lists", {"X-Forwarded-For": addresses, "X-Forwarded-Host": hosts, "X-Forwarded-Proto": protos})
    assert (got["REMOTE_ADDR"], got["HTTP_HOST"], got["wsgi.url_scheme"]) == ("203.0.113.9", "shop.example", "https")


@pytest.mark.differs("forwarded-rfc-7239")
@pytest.mark.parametrize(
    "sent, client, host, scheme",
    [
        ("for=203.0.113.9;proto=https;host=shop.example", "203.0.113.9", "shop.example", "https"),
        ('For="[2001:db8::9]:4711";Host="shop.example:8443"', "2001:db8::9", "shop.example:8443", "http"),
        ("for=203.0.113.9;host=shop.example;proto=https, for=10.0.0.2;host=inner;proto=http", "203.0.113.9", "shop.example", "https"),
        ("for=10.0.0.9;host=evil;proto=http, for=203.0.113.9;host=shop.example;proto=https", "203.0.113.9", "shop.example", "https"),
        ("for=unknown;host=shop.example;proto=https", "127.0.0.1", "shop.example", "https"),
        ("for=_hidden, for=10.0.0.2;host=shop.example", "10.0.0.2", None, "http"),
        ('for="1.2.3.4;x=", for=203.0.113.9;host=shop.example;proto=https', "203.0.113.9", "shop.example", "https"),
        ('for=1.2.3.4;x=", for="203.0.113.9:80";host="shop.example"', "203.0.113.9", "shop.example", "http"),
    ],
)
def test_forwarded_is_read_once_it_is_listed(environ, site, sent, client, host, scheme):
    got = environ("/forwarded", {"Forwarded": sent, "X-Forwarded-For": "1.2.3.4", "X-Forwarded-Proto": "http"})
    assert (got["REMOTE_ADDR"], got["wsgi.url_scheme"]) == (client, scheme)
    assert got["HTTP_HOST"] == (host or f"127.0.0.1:{site.port}")
    assert "HTTP_X_FORWARDED_FOR" not in got and "HTTP_X_FORWARDED_PROTO" not in got


@pytest.mark.differs("forwarded-rfc-7239")
def test_forwarded_is_cut_to_what_trusted_proxies_have_written(environ):
    sent = 'for=10.0.0.9;x=", for=1.2.3.4, for=203.0.113.9;proto=https,for=10.0.0.2'
    got = environ("/forwarded", {"Forwarded": sent})
    assert got["HTTP_FORWARDED"] == "for=203.0.113.9;proto=https, for=10.0.0.2"


@pytest.mark.differs("forwarded-rfc-7239")
def test_forwarded_of_a_stranger_is_taken_away_once_it_is_listed(environ):
    headers = {"Forwarded": "for=1.2.3.4;host=evil.example;proto=https", "X-Real-IP": "1.2.3.4", "X-Forwarded-Port": "80"}
    got = environ("/stranger-forwarded", headers)
    assert got["REMOTE_ADDR"] == "127.0.0.1"
    assert "HTTP_FORWARDED" not in got and "HTTP_X_REAL_IP" not in got
    assert got["HTTP_X_FORWARDED_PORT"] == "80"


def test_forwarded_is_a_header_like_others_where_it_is_not_listed(environ):
    assert environ("/for", {"Forwarded": "for=1.2.3.4"})["HTTP_FORWARDED"] == "for=1.2.3.4"


@pytest.mark.differs("forwarded-work-is-bounded", run=False)
def test_a_long_forged_list_costs_no_time(httpd):
    httpd.serve("environ.wsgi", "LimitRequestFieldSize 500000", *PLACES["/proxy"])
    for header in ("X-Forwarded-For", "X-Forwarded-Host"):
        answer = httpd.get("/", headers={header: ",".join(["10.0.0.2"] * 50_000)})
        assert answer.status == 200
        assert answer.elapsed < 1 + SLACK


def test_mod_remoteip_s_client_is_the_one_that_must_be_trusted(httpd):
    httpd.serve(
        "environ.wsgi", "RemoteIPHeader X-Forwarded-For", "RemoteIPInternalProxy 127.0.0.1",
        "WSGITrustedProxyHeaders X-Forwarded-Host", "WSGITrustedProxies 127.0.0.1",
    )
    got = httpd.ask("/", headers={"X-Forwarded-Host": "shop.example"})
    assert (got["REMOTE_ADDR"][1], got["HTTP_HOST"][1]) == ("127.0.0.1", "shop.example")
    got = httpd.ask("/", headers={"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Host": "evil.example"})
    assert got["REMOTE_ADDR"][1] == "203.0.113.9"
    assert got["HTTP_HOST"][1] == f"127.0.0.1:{httpd.port}"
    assert "HTTP_X_FORWARDED_HOST" not in got


def test_an_inner_section_replaces_the_lists_of_an_outer_one(httpd):
    httpd.serve(
        "environ.wsgi", "WSGITrustedProxyHeaders X-Real-IP", "WSGITrustedProxies 192.0.2.1",
        "<Location /inner>", "WSGITrustedProxies 127.0.0.1", "</Location>",
    )
    headers = {"X-Real-IP": "203.0.113.9"}
    assert httpd.ask("/", headers=headers)["REMOTE_ADDR"][1] == "127.0.0.1"
    assert httpd.ask("/inner", headers=headers)["REMOTE_ADDR"][1] == "203.0.113.9"


def test_behind_a_proxying_apache_the_application_sees_the_visitor(servers):
    back = servers()
    back.serve(
        "environ.wsgi", "WSGITrustedProxyHeaders X-Forwarded-For X-Forwarded-Host", "WSGITrustedProxies 127.0.0.1",
    )
    front = servers()
    front.configure(f"ProxyPass / http://127.0.0.1:{back.port}/", f"ProxyPassReverse / http://127.0.0.1:{back.port}/")
    front.start()
    # mod_proxy appends what it saw to what the visitor wrote; the visitor is 127.0.0.1 here.
    got = front.ask("/", headers={"X-Forwarded-For": "203.0.113.9, 192.0.2.66"})
    assert got["REMOTE_ADDR"][1] == "192.0.2.66"
    assert got["HTTP_X_FORWARDED_FOR"][1] == "192.0.2.66, 127.0.0.1"
    assert got["HTTP_HOST"][1] == f"127.0.0.1:{front.port}"


CUSTOM_PROXY_FIX = """
import json

def plain(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps([type(environ) is dict, environ["HTTP_HOST"]]).encode()]

class CustomProxyFix(object):

    def __init__(self, app):
        self.app = app

    def __call__(self, environ, start_response):
        host = environ.get('HTTP_X_FHOST', '')
        if host:
            environ['HTTP_HOST'] = host
        return self.app(environ, start_response)

application = CustomProxyFix(plain)
"""


def test_the_middleware_of_the_seed_works_unchanged(httpd):
    httpd.app("custom.wsgi", CUSTOM_PROXY_FIX)
    httpd.serve("custom.wsgi")
    assert httpd.ask("/", headers={"X-FHost": "shop.example"}) == [True, "shop.example"]
    assert httpd.ask("/") == [True, f"127.0.0.1:{httpd.port}"]


def test_the_middleware_of_the_seed_can_be_replaced_by_a_line_for_apache(httpd):
    httpd.serve("environ.wsgi", 'RequestHeader set Host "expr=%{req:X-FHost}" "expr=-n req(\'X-FHost\')"')
    assert httpd.ask("/", headers={"X-FHost": "shop.example"})["HTTP_HOST"][1] == "shop.example"
    assert httpd.ask("/")["HTTP_HOST"][1] == f"127.0.0.1:{httpd.port}"


PROXY_FIX = """
import flask
from werkzeug.middleware.proxy_fix import ProxyFix

app = application = flask.Flask(__name__)
app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1, x_host=1)

@app.route("/<path:path>")
def seen(path):
    return [flask.request.remote_addr, flask.request.url]
"""


def test_proxyfix_inside_an_application_cannot_be_fooled_by_a_stranger(httpd):
    httpd.app("fixed.wsgi", PROXY_FIX)
    listed = "WSGITrustedProxyHeaders X-Forwarded-For X-Forwarded-Proto X-Forwarded-Host"
    httpd.serve(
        "fixed.wsgi",
        "<Location /proxy>", listed, "WSGITrustedProxies 127.0.0.1", "</Location>",
        "<Location /stranger>", listed, "WSGITrustedProxies 192.0.2.1", "</Location>",
        options=f"threads=2 python-home={pythons.environment('flask')}",
    )
    headers = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "shop.example"}
    assert httpd.ask("/proxy", headers=headers) == ["203.0.113.9", "https://shop.example/proxy"]
    assert httpd.ask("/stranger", headers=headers) == ["127.0.0.1", f"http://127.0.0.1:{httpd.port}/stranger"]
