"""Whatever the module registers with httpd by a name can be named by any configuration, and by any
`.htaccess` under AllowOverride FileInfo: in each place that has no effect, or is an error that says so. No child
crashes (issue 10, B1)."""

import re

import pytest

from client import Broken
from httpd import CHECKOUT

# What a name may be given as, with the modules that the directives need.
ROLES = {
    "set-input": "SetInputFilter {name}",
    "set-output": "SetOutputFilter {name}",
    "add-input": "AddInputFilter {name} txt wsgi",
    "add-output": "AddOutputFilter {name} txt wsgi",
    "set-handler": "SetHandler {name}",
    "add-handler": "AddHandler {name} txt wsgi",
    "action": "AddHandler {name} txt wsgi\nAction {name} /plain",
    "type": "ForceType {name}",
    "rewrite": "RewriteEngine On\nRewriteRule .? - [H={name}]",
    "environment": "SetEnv {name} 1",
}
# What httpd itself refuses when it does not know the name.
LOOKED_UP = {
    "AddOutputFilterByType": "AddOutputFilterByType {name} text/plain",
    "FilterProvider": "FilterDeclare mine\nFilterProvider mine {name} \"true\"\nFilterChain mine",
    "AuthBasicProvider": "AuthType Basic\nAuthName x\nAuthBasicProvider {name}\nRequire valid-user",
    "AuthDigestProvider": "AuthType Digest\nAuthName x\nAuthDigestProvider {name}\nRequire valid-user",
    "Require": "Require {name} x",
}
# Handlers are compared by name in Rust, whose texts do not end with a NUL byte.
HANDLERS = {"wsgi-script", "application/x-httpd-wsgi", "wsgi-status"}
CRASH = r"AH0005[0-9]|exit signal|WSGI0368"


def names_in(module):
    """Every C string of the module's file that could be a name and is of ours, but those of directives."""
    found = re.findall(rb"(?<=\0)[A-Za-z][A-Za-z0-9_.-]{2,40}(?=\0)", module.read_bytes())
    directives = {page.stem for page in (CHECKOUT / "docs" / "directives").glob("*.md")}
    return {name.decode() for name in found if b"wsgi" in name.lower()} - directives


def names_of(httpd):
    # The C module's file has the names of its functions, too.
    return sorted(HANDLERS | {"wsgi", "wsgi-group", "alias-forced-type"}
                  | {name for name in names_in(httpd.module) if not httpd.is_reference or "-" in name})


def slug(name):
    return re.sub(r"[^A-Za-z0-9]", "_", name)


def test_the_names_are_found(httpd):
    assert {"wsgi-script", "mod_wsgi.c"} <= names_in(httpd.module)


@pytest.mark.parametrize("place", ["Location", "Directory", "Files", ".htaccess"])
def test_a_name_in_any_role_crashes_nobody(httpd, place):
    hello = (httpd.apps / "hello.wsgi").read_text()
    lines, asked = [], []
    for name in names_of(httpd):
        for role, said in ROLES.items():
            said = said.format(name=name).splitlines()
            at = f"{role}/{slug(name)}"
            folder = httpd.root / "htdocs" / at
            folder.mkdir(parents=True)
            (folder / "page.txt").write_text("text\n")
            (folder / "app.wsgi").write_text(hello)
            if place == ".htaccess":
                (folder / ".htaccess").write_text("\n".join(said) + "\n")
            else:
                where = {"Location": f"/{at}/", "Directory": folder, "Files": folder}[place]
                section = "Directory" if place == "Files" else place
                inner = ["<Files *>", *said, "</Files>"] if place == "Files" else said
                lines += [f'<{section} "{where}">', *inner, f"</{section}>"]
            asked += [f"/{at}/page.txt", f"/{at}/run", f"/{at}/"]
    httpd.configure(
        "WSGIDaemonProcess app threads=3", "WSGIProcessGroup app", "WSGIApplicationGroup %{GLOBAL}",
        "WSGIScriptAlias /plain {apps}/hello.wsgi",
        "WSGIScriptAliasMatch ^/([a-z-]+)/([A-Za-z0-9_]+)/run {root}/htdocs/$1/$2/app.wsgi",
        "<Directory {root}/htdocs>", "AllowOverride FileInfo", "</Directory>",
        "MaxKeepAliveRequests 0", *lines,
    )
    httpd.error_log.allow(".")  # What they say is httpd's; see below for what they must not.
    httpd.start()
    before = {child.pid for child in httpd.children()}
    for path in asked:
        # A filter of a connection is met by the next request, too.
        with httpd.connect() as connection:
            for method, body in [("GET", None), ("POST", b"x" * 1000), ("GET", None)]:
                connection.send_request(method, path, body=body)
                try:
                    response = connection.response(method)
                except Broken as broken:
                    pytest.fail(f"{method} {path}: {broken}")
                assert response.complete, (path, method, response)
                if response.get("Connection") == "close":
                    break
    assert httpd.get("/plain").text == "Hello, World!\n"
    assert before <= {child.pid for child in httpd.children()}
    assert not re.search(CRASH, httpd.error_log.text())


def test_a_name_that_httpd_has_to_know_is_refused(httpd):
    for name in names_of(httpd):
        for directive, lines in LOOKED_UP.items():
            if name in ("wsgi", "wsgi-group"):
                continue  # A provider of passwords and a kind of Require, which the tests of auth scripts try.
            httpd.configure('<Location "/">', *lines.format(name=name).splitlines(), "</Location>")
            assert re.search(rf"(?i)unknown .*\b{re.escape(name)}", httpd.refusal()), (directive, name)
