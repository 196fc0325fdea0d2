"""Which script answers which URL, and what is refused before any script runs (issue 2, point 3)."""

import os

import pytest

ENVIRON = "{apps}/environ.wsgi"


def names(answer):
    return answer["SCRIPT_NAME"][1], answer["PATH_INFO"][1]


@pytest.fixture(scope="module")
def site(servers):
    httpd = servers()
    (httpd.apps / "dir").mkdir()
    for name in ("one.wsgi", "two.wsgi"):
        httpd.app(f"dir/{name}", (httpd.apps / "environ.wsgi").read_text())
    (httpd.root / "htdocs" / "static").mkdir()
    (httpd.root / "htdocs" / "static" / "page.txt").write_text("static\n")
    (httpd.root / "htdocs" / "script.py").write_text((httpd.apps / "environ.wsgi").read_text())
    (httpd.root / "htdocs" / "forbidden.py").write_text("")
    httpd.configure(
        "WSGIDaemonProcess app display-name=%{GROUP} threads=3",
        "WSGIProcessGroup app",
        "WSGIApplicationGroup %{GLOBAL}",
        f"WSGIScriptAlias /outer/inner {ENVIRON}",
        "WSGIScriptAlias /outer {apps}/dir/one.wsgi",
        "WSGIScriptAlias /dir/ {apps}/dir/",
        "WSGIScriptAlias /gone {apps}/gone.wsgi",
        "WSGIScriptAlias /nodir {apps}/dir",
        "DirectorySlash Off",
        "WSGIScriptAliasMatch ^/match/([a-z]+) {apps}/dir/$1.wsgi",
        f"WSGIScriptAlias /named {ENVIRON} callable-object=application pass-authorization=On",
        f"WSGIScriptAlias /nopath {ENVIRON}",
        f"WSGIScriptAlias /static {ENVIRON}",
        "Alias /static {root}/htdocs/static",
        "<Location /nopath>", "  AcceptPathInfo Off", "</Location>",
        "<Files script.py>", "  Options +ExecCGI", "  SetHandler wsgi-script", "</Files>",
        "<Files forbidden.py>", "  Options -ExecCGI", "  SetHandler wsgi-script", "</Files>",
    )
    return httpd.start()


def test_the_first_alias_that_matches_wins(site):
    answer = site.ask("/outer/inner/x")
    assert names(answer) == ("/outer/inner", "/x")
    assert answer["SCRIPT_FILENAME"][1].endswith("environ.wsgi")


def test_the_outer_alias_takes_the_rest(site):
    answer = site.ask("/outer/other")
    assert names(answer) == ("/outer", "/other")
    assert answer["SCRIPT_FILENAME"][1].endswith("one.wsgi")


def test_the_last_component_of_an_alias_must_match_whole(site):
    assert site.get("/outerspace").status == 404


def test_an_alias_to_a_directory_selects_the_script_by_the_next_segment(site):
    answer = site.ask("/dir/two.wsgi/rest")
    assert names(answer) == ("/dir/two.wsgi", "/rest")


def test_a_match_puts_its_groups_into_the_target(site):
    answer = site.ask("/match/two/rest")
    assert answer["SCRIPT_FILENAME"][1].endswith("two.wsgi")
    assert names(answer) == ("/match/two", "/rest")


def test_alias_goes_before_wsgi_script_alias(site):
    assert site.get("/static/page.txt").text == "static\n"


def test_the_options_of_an_alias_hold_for_it_alone(site):
    headers = {"Authorization": "Basic YTpi"}
    assert "HTTP_AUTHORIZATION" in site.ask("/named", headers=headers)
    assert "HTTP_AUTHORIZATION" not in site.ask("/outer", headers=headers)


def test_a_handler_runs_a_file_of_the_document_root(site):
    answer = site.ask("/script.py/info")
    assert names(answer) == ("/script.py", "/info")


def test_a_handler_without_exec_cgi_is_403(site):
    assert site.get("/forbidden.py").status == 403
    site.error_log.expect("WSGI0134")


def test_a_missing_script_is_404(site):
    assert site.get("/gone").status == 404
    site.error_log.expect(r"(?=.*gone\.wsgi).*WSGI0135")


def test_a_directory_in_place_of_a_script_is_403(site):
    assert site.get("/nodir").status == 403
    site.error_log.expect(r"(?=.*/dir\b).*WSGI0136")


def test_path_info_is_404_where_apache_does_not_accept_it(site):
    assert site.get("/nopath").status == 200
    assert site.get("/nopath/x").status == 404
    site.error_log.allow(r"AcceptPathInfo|WSGI0137")


def test_a_directory_without_access_is_403(httpd):
    httpd.serve("hello.wsgi", "<Directory {apps}>", "  Require all denied", "</Directory>")
    assert httpd.get("/").status == 403
    httpd.error_log.expect("AH01630")


def test_the_callable_may_have_another_name(httpd):
    httpd.app("named.wsgi", "def shop(environ, start_response):\n"
              "    start_response('200 OK', [])\n    return [b'shop']\n")
    httpd.serve("named.wsgi", "WSGICallableObject shop")
    assert httpd.get("/").text == "shop"


def test_the_callable_may_be_named_by_a_variable(httpd):
    httpd.app("named.wsgi", "def shop(environ, start_response):\n"
              "    start_response('200 OK', [])\n    return [environ['mod_wsgi.callable_object'].encode()]\n")
    httpd.serve("named.wsgi", "SetEnv CALLABLE shop", "WSGICallableObject %{ENV:CALLABLE}")
    assert httpd.get("/").text == "shop"


def test_a_missing_callable_is_500_and_named_in_the_log(httpd):
    httpd.app("empty.wsgi", "app = None\n")
    httpd.serve("empty.wsgi")
    assert httpd.get("/").status == 500
    httpd.error_log.expect(r"WSGI0089.*application")


def test_a_script_of_a_handler_may_be_reached_by_extension(httpd):
    (httpd.root / "htdocs" / "x.wsgi").write_text((httpd.apps / "hello.wsgi").read_text())
    httpd.configure(
        "WSGIDaemonProcess app threads=2", "WSGIProcessGroup app", "AddHandler wsgi-script .wsgi",
        "<Directory {root}/htdocs>", "  Options +ExecCGI", "</Directory>",
    )
    httpd.start()
    assert httpd.get("/x.wsgi").text == "Hello, World!\n"


def test_two_virtual_hosts_keep_their_aliases_apart(httpd):
    httpd.app("a.wsgi", (httpd.apps / "environ.wsgi").read_text())
    httpd.configure(
        "WSGIDaemonProcess app threads=2", "WSGIProcessGroup app",
        f"WSGIScriptAlias /main {ENVIRON}",
        "<VirtualHost *>", "ServerName a.example", "WSGIScriptAlias / {apps}/a.wsgi", "</VirtualHost>",
        "<VirtualHost *>", "ServerName b.example", f"WSGIScriptAlias /b {ENVIRON}", "</VirtualHost>",
    )
    httpd.start()
    def file(path, host):
        return httpd.ask(path, headers={"Host": host})["SCRIPT_FILENAME"][1].rpartition("/")[2]
    assert file("/x", "a.example") == "a.wsgi"
    assert file("/main", "a.example") == "a.wsgi"
    assert file("/b", "b.example") == "environ.wsgi"
    assert file("/main", "b.example") == "environ.wsgi"
    assert httpd.get("/other", headers={"Host": "b.example"}).status == 404


def test_a_request_for_an_unknown_process_group_is_500(httpd):
    httpd.configure(
        "WSGIDaemonProcess shop", "WSGIScriptAlias / {apps}/hello.wsgi", "WSGIProcessGroup shpo",
    )
    httpd.error_log.allow(r"process group .?shpo")  # said at start too
    httpd.start()
    assert httpd.get("/").status == 500
    httpd.error_log.expect(r"WSGI015[01].*shpo", level="error")


def test_a_group_of_another_virtual_host_is_500(httpd):
    httpd.configure(
        "<VirtualHost *>", "ServerName a.example", "WSGIDaemonProcess a", "</VirtualHost>",
        "<VirtualHost *>", "ServerName b.example", "WSGIProcessGroup a", f"WSGIScriptAlias / {ENVIRON}",
        "</VirtualHost>",
    )
    httpd.error_log.allow(r"process group .?a.? ")  # said at start too
    httpd.start()
    assert httpd.get("/", headers={"Host": "b.example"}).status == 500
    httpd.error_log.expect("WSGI0152")


def test_a_group_is_shared_by_virtual_hosts_of_the_same_name(httpd):
    httpd.configure(
        "<VirtualHost *:{port}>", "ServerName a.example", "WSGIDaemonProcess a",
        "WSGIProcessGroup a", f"WSGIScriptAlias / {ENVIRON}", "</VirtualHost>",
        "<VirtualHost *:{port}>", "ServerName a.example", "ServerAlias www.a.example", "WSGIProcessGroup a",
        f"WSGIScriptAlias / {ENVIRON}", "</VirtualHost>",
    )
    httpd.start()
    assert httpd.ask("/", headers={"Host": "www.a.example"})["mod_wsgi.process_group"][1] == "a"


def test_settings_are_merged_over_server_host_and_directory(httpd):
    httpd.configure(
        "WSGIDaemonProcess outer threads=2", "WSGIDaemonProcess inner threads=2",
        "WSGIProcessGroup outer", "WSGIPassAuthorization On", "WSGIApplicationGroup main",
        "<VirtualHost *>", "ServerName a.example", f"WSGIScriptAlias /inner {ENVIRON}", f"WSGIScriptAlias / {ENVIRON}",
        "  <Location /inner>", "    WSGIProcessGroup inner", "  </Location>",
        "</VirtualHost>",
        "<VirtualHost *>", "ServerName b.example", f"WSGIScriptAlias / {ENVIRON}", "WSGIPassAuthorization Off",
        "WSGIApplicationGroup other", "</VirtualHost>",
    )
    httpd.start()
    def ask(path, host):
        got = httpd.ask(path, headers={"Host": host, "Authorization": "Basic YTpi"})
        return got["mod_wsgi.process_group"][1], got["mod_wsgi.application_group"][1], "HTTP_AUTHORIZATION" in got
    assert ask("/", "a.example") == ("outer", "main", True)
    assert ask("/inner", "a.example") == ("inner", "main", True)
    assert ask("/", "b.example") == ("outer", "other", False)


def test_an_htaccess_may_name_the_callable(httpd):
    httpd.app("two.wsgi", "def first(environ, start_response):\n"
              "    start_response('200 OK', [])\n    return [b'first']\n")
    (httpd.apps / ".htaccess").write_text("WSGICallableObject first\n")
    httpd.serve("two.wsgi", "<Directory {apps}>", "  AllowOverride FileInfo", "</Directory>")
    assert httpd.get("/").text == httpd.get("/and/more").text == "first"


def test_a_process_group_is_not_allowed_in_htaccess(httpd):
    (httpd.apps / ".htaccess").write_text("WSGIProcessGroup other\n")
    httpd.serve("hello.wsgi", "<Directory {apps}>", "  AllowOverride All", "</Directory>")
    assert httpd.get("/").status == 500
    httpd.error_log.expect(r"WSGIProcessGroup not allowed here")


def test_a_group_that_is_not_listed_may_not_be_used(httpd):
    httpd.configure(
        "WSGIDaemonProcess app threads=1", "WSGIDaemonProcess other threads=1", "WSGIScriptAlias / {apps}/hello.wsgi",
        "WSGIApplicationGroup %{GLOBAL}", "WSGIRestrictProcess APP third",
        "<Location /app>", "WSGIProcessGroup app", "</Location>",
        "<Location /other>", "WSGIProcessGroup other", "</Location>",
        "<Location /other/open>", "WSGIRestrictProcess other", "</Location>",
    ).start()
    assert httpd.get("/app").status == 200
    assert httpd.get("/other").status == 500
    httpd.error_log.expect("WSGI0149", count=1)
    # An inner list replaces an outer one.
    assert httpd.get("/other/open").status == 200


@pytest.mark.parametrize("options, status", [("FollowSymLinks", 200), ("SymLinksIfOwnerMatch", 403), ("None", 403)])
@pytest.mark.parametrize("path", ["/", "/shop", "/shop/of/many/segments"])
def test_links_are_followed_where_apache_follows_them(httpd, options, status, path):
    (httpd.apps / "link.wsgi").symlink_to(httpd.apps / "environ.wsgi")
    os.lchown(httpd.apps / "link.wsgi", 12345, 12345)
    httpd.configure(
        "WSGIDaemonProcess app threads=2", "WSGIProcessGroup app", "WSGIScriptAlias / {apps}/link.wsgi",
        "<Directory {apps}>", f"  Options {options}", "</Directory>",
    )
    httpd.start()
    if status == 403:
        httpd.error_log.allow("AH00037: Symbolic link not allowed")
        assert httpd.get(path).status == 403
    else:
        assert names(httpd.ask(path)) == ("", path)


@pytest.mark.parametrize("merge", ["On", "Off"])
@pytest.mark.parametrize("path", ["/a//b", "//a", "/a/./b", "/a/../b", "/a/..%2fb", "/.a/b", "/a/.", "/a%2e", "/a//"])
def test_a_path_that_apache_shortens_is_shortened(httpd, merge, path):
    httpd.configure(
        "WSGIDaemonProcess app threads=2", "WSGIProcessGroup app", f"MergeSlashes {merge}", "AllowEncodedSlashes On",
        f"WSGIScriptAlias /shop {ENVIRON}", f"WSGIScriptAliasMatch ^/match {ENVIRON}",
    )
    httpd.start()
    # Whichever alias it is: that of a regular expression leaves it to httpd where the script ends.
    of_shop, of_match = (names(httpd.ask(place + path))[1] for place in ("/shop", "/match"))
    assert of_shop == of_match
