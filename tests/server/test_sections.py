"""Which sections httpd applies to a request is httpd's affair: the module may not change it (issue 10, B3).

Sites are made by chance: folders, links, scripts, aliases of each kind, `<Directory>`, `<Files>`, `<Location>` with
and without patterns, `.htaccess`, MergeSlashes. The same configuration and the same requests go to ours and to the C
module; who answers, as which user, and which sections applied has to be the same. `WSGI_TEST_SEED` gives another
thousand cases; what is printed tells how to repeat one.
"""

import json
import os
import random
import shutil
import tempfile
from pathlib import Path

import pytest

from httpd import Server
from reference import c_module

SEED = int(os.environ.get("WSGI_TEST_SEED", "20"))
SITES = 50
REQUESTS = 20

# What decides who answers, and as whom.
APPLICATION = """
import json, os
def application(environ, start_response):
    kept = {key: value for key, value in environ.items() if key in (
        "SCRIPT_NAME", "PATH_INFO", "SCRIPT_FILENAME", "PATH_TRANSLATED", "REQUEST_URI", "QUERY_STRING", "DOCUMENT_ROOT",
        "CONTEXT_PREFIX", "CONTEXT_DOCUMENT_ROOT", "HTTP_AUTHORIZATION", "mod_wsgi.process_group",
        "mod_wsgi.application_group", "mod_wsgi.callable_object", "mod_wsgi.handler_script") or key.startswith("S_")}
    kept["uid"], kept["file"] = os.getuid(), __file__
    body = json.dumps(kept, sort_keys=True).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
other = application
"""

FOLDERS = ["", "a", "a/b", "a/b/c", "priv", "priv/a"]
SEGMENTS = ["", "a", "b", "c", "x", "x.wsgi", "app.wsgi", "link", "l.wsgi", "page.txt", ".", "..", "%2e", "a%20b", "priv", "dir.wsgi"]


class Site:
    """One virtual host with a tree of its own."""

    def __init__(self, chance, name, tree):
        self.chance, self.name, self.tree = chance, name, tree
        self.marks = 0
        self.make_tree()
        self.prefixes = []
        self.lines = self.configuration()

    def make_tree(self):
        for folder in FOLDERS:
            place = self.tree / folder
            place.mkdir(parents=True)
            for file in ("app.wsgi", "x.wsgi"):
                (place / file).write_text(APPLICATION)
            (place / "page.txt").write_text("text\n")
        (self.tree / "a" / "dir.wsgi").mkdir()
        shutil.copy(self.tree / "app.wsgi", self.tree / "a" / "dir.wsgi" / "app.wsgi")
        for _ in range(self.chance.randint(0, 4)):
            link = self.tree / self.chance.choice(FOLDERS) / self.chance.choice(["link", "l.wsgi"])
            if not link.is_symlink():
                link.symlink_to(self.chance.choice(
                    [self.tree / "a", self.tree / "priv", self.tree / "a/b/app.wsgi", self.tree / "priv/x.wsgi", "app.wsgi", "gone"]
                ))
        for _ in range(self.chance.randint(0, 2)):
            lines = self.said(htaccess=True)
            if self.chance.random() < 0.4:
                lines = [f"<Files {self.chance.choice(['app.wsgi', '*', 'x*', 'page.txt'])}>", *lines, "</Files>"]
            (self.tree / self.chance.choice(FOLDERS) / ".htaccess").write_text("\n".join(lines) + "\n")

    def said(self, htaccess=False, location=False):
        """What a section says: a mark of its own, and something that decides."""
        chance = self.chance
        self.marks += 1
        lines = [f"SetEnv S_{self.marks} yes", f"SetEnv S_LAST {self.marks}"]
        choices = [
            ["Require all granted"], ["Require all granted"], ["Require all denied"], ["WSGICallableObject other"], ["WSGICallableObject application"],
            ["AcceptPathInfo Off"], ["AcceptPathInfo On"], ["SetHandler wsgi-script"],
        ]
        if not htaccess:
            choices += 3 * [[f"WSGIProcessGroup {chance.choice('abc')}"]] + 2 * [[f"WSGIApplicationGroup {chance.choice(['one', '%{GLOBAL}'])}"]] + [
                ["WSGIPassAuthorization On"]]
            if not location:
                choices += [["Options -FollowSymLinks"], ["Options +ExecCGI"], ["AllowOverride None"], ["AllowOverride All"]]
        for _ in range(chance.randint(1, 3)):
            lines += chance.choice(choices)
        return lines

    def section(self):
        chance = self.chance
        folder = str(self.tree / chance.choice(FOLDERS)).rstrip("/")
        kind = chance.choice(["Directory", "Directory", "Directory", "DirectoryMatch", "Files", "FilesMatch", "Location", "LocationMatch"])
        location = kind.startswith("Location")
        said = self.said(location=location)
        if kind == "Directory":
            what = folder + chance.choice(["", "/", "/*", "/*/", "/?pp.wsgi", "/app.wsgi", "/x.wsgi/", "/*/*", "/link"])
        elif kind == "DirectoryMatch":
            what = "^" + folder.replace(".", r"\.") + chance.choice(["", "/", "/.+", "$", r"/[^/]*\.wsgi", "(/|$)"])
        elif kind == "Files":
            what, said = chance.choice(["app.wsgi", "*.wsgi", "x*", "*", "page.txt", "link"]), [line for line in said if "AllowOverride" not in line and "FollowSym" not in line]
        elif kind == "FilesMatch":
            what, said = chance.choice([r"\.wsgi$", "^app", "."]), [line for line in said if "AllowOverride" not in line and "FollowSym" not in line]
        elif kind == "Location":
            what = chance.choice(["/", "/p", "/p/", "/p/*", "/q/a", "/p/app.wsgi", "/p//a"])
        else:
            what = chance.choice(["^/p/.", "/a(/|$)", "^/[pq]/?$", "//", r"\.wsgi"])
        inner = [f'<{kind} "{what}">', *said, f"</{kind}>"]
        if kind.startswith("Files") and chance.random() < 0.5:
            return [f'<Directory "{folder}">', *inner, "</Directory>"]
        return inner

    def alias(self):
        chance = self.chance
        folder = str(self.tree / chance.choice(FOLDERS)).rstrip("/")
        url = chance.choice(["/p", "/q", "/p/a", "/priv", "/"])
        self.prefixes.append(url.rstrip("/"))
        options = chance.choice(["", "", "", " process-group=b", " application-group=one", " callable-object=other"])
        kind = chance.randrange(-2, 7)
        if kind <= 1:
            return f"WSGIScriptAlias {url} {folder}/{chance.choice(['app.wsgi', 'app.wsgi', 'app.wsgi', 'x.wsgi', 'l.wsgi', 'link', 'gone.wsgi', 'dir.wsgi', 'link/app.wsgi', './app.wsgi', '../app.wsgi'])}{options}"
        if kind == 2:
            return f"WSGIScriptAlias {url.rstrip('/')}/ {folder}/{options}"
        if kind == 3:
            return f"WSGIScriptAlias {url} {folder}{options}"
        if kind == 4:
            return f"WSGIScriptAliasMatch ^{url} {folder}/{chance.choice(['app.wsgi', 'x.wsgi', '', 'link/app.wsgi'])}{options}"
        if kind == 5:
            self.prefixes[-1] = "/m"
            return f"WSGIScriptAliasMatch ^/m/([a-z]+) {folder}/$1.wsgi{options}"
        return f"Alias {url} {folder}{chance.choice(['', '/', '/app.wsgi'])}"

    def configuration(self):
        chance = self.chance
        return [
            "<VirtualHost *>", f"ServerName {self.name}", f"DocumentRoot {self.tree}",
            f"MergeSlashes {chance.choice(['On', 'On', 'Off'])}", f"AllowEncodedSlashes {chance.choice(['Off', 'On', 'NoDecode'])}",
            f"WSGIProcessGroup {chance.choice('abc')}",
            f'<Directory "{self.tree}">', "Require all granted", f"AllowOverride {chance.choice(['All', 'All', 'None'])}",
            f"Options {chance.choice(['+FollowSymLinks', '+FollowSymLinks', '+FollowSymLinks +ExecCGI', '-FollowSymLinks'])}",
            *chance.choice([[], ["AddHandler wsgi-script .wsgi"]]), "</Directory>",
            *[self.alias() for _ in range(chance.randint(1, 3))],
            *[line for _ in range(chance.randint(1, 6)) for line in self.section()],
            "</VirtualHost>",
        ]

    def url(self):
        chance = self.chance
        path = chance.choice([*self.prefixes, *self.prefixes, *self.prefixes, "", "/m/app"])
        for _ in range(chance.randint(0, 4)):
            path += chance.choice(["/", "/", "/", "/", "//", "%2f"]) + chance.choice(SEGMENTS)
        return (path if path.startswith("/") else "/" + path) + chance.choice(["", "", "?a=b"])


def site(chance_seed, number, tree):
    return Site(random.Random(chance_seed * 1000 + number), f"s{number}.example", tree / f"s{number}")


def answer(connection, host, url):
    """What a request came to, as far as sections decide it."""
    connection.send_request("GET", url, headers=[("Host", host), ("Authorization", "Basic YTpi")])
    response = connection.response()
    assert response.complete, (host, url)
    if response.get("Content-Type") == "application/json":
        return response.status, json.loads(response.body), response
    return response.status, response.get("Location", "") if response.status < 400 else "", response


@pytest.fixture
def tree():
    folder = Path(tempfile.mkdtemp(prefix="wsgi-sections-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def ask_all(server, sites, requests):
    answers, connection = [], None
    for at, url in requests:
        connection = connection or server.connect()
        status, said, response = answer(connection, sites[at].name, url)
        answers.append((status, said))
        if response.get("Connection") == "close":
            connection.close()
            connection = None
    if connection:
        connection.close()
    return answers


def test_a_thousand_random_requests_meet_the_sections_that_httpd_chooses(httpd, users, tree, request):
    if httpd.is_reference:
        pytest.skip("it would be compared with itself")
    print(f"WSGI_TEST_SEED={SEED}")
    sites = [site(SEED, number, tree) for number in range(SITES)]
    requests = [(at, sites[at].url()) for at in range(SITES) for _ in range(REQUESTS)]
    lines = [
        "WSGIDaemonProcess a threads=3 user=wsgitest1", "WSGIDaemonProcess b threads=3 user=wsgitest2",
        "WSGIDaemonProcess c threads=3", "MaxKeepAliveRequests 0",
        *[line for one in sites for line in one.lines],
    ]
    theirs = Server(c_module(), request.config.getoption("--mpm"))
    try:
        seen = []
        for server in (theirs, httpd):
            server.error_log.allow(".")  # Of what is refused; who refuses what is compared.
            server.configure(*lines)
            server.start()
            seen.append(ask_all(server, sites, requests))
            assert "exit signal" not in server.error_log.text()
            server.stop()
    finally:
        theirs.close(judge=False)
    expected, ours = seen
    different = [
        f"{sites[at].name} {url}\n  C:    {right}\n  ours: {wrong}"
        for (at, url), right, wrong in zip(requests, expected, ours) if right != wrong
    ]
    statuses = [status for status, _ in expected]
    # Otherwise nothing was tried.
    assert statuses.count(200) > 150 and statuses.count(403) > 50 and statuses.count(404) > 50, statuses
    if different:
        names = {line.split()[0] for line in different[:3]}
        shown = [line for one in sites if one.name in names for line in one.lines]
        pytest.fail(f"WSGI_TEST_SEED={SEED}: {len(different)} of {len(requests)} differ\n" + "\n".join(different[:12] + shown))


@pytest.mark.parametrize("outer, inner, status", [("denied", "granted", 403), ("granted", "denied", 200)])
@pytest.mark.parametrize("path", ["/private/", "/private/x", "/private/x/y"])
def test_a_section_for_what_lies_in_a_folder_is_not_for_its_script(httpd, outer, inner, status, path):
    httpd.app("private/app.wsgi", (httpd.apps / "environ.wsgi").read_text())
    httpd.configure(
        "WSGIDaemonProcess right threads=2", "WSGIDaemonProcess wrong threads=2", "WSGIProcessGroup right",
        "WSGIScriptAlias /private {apps}/private/app.wsgi",
        "<Directory {apps}/private>", f"Require all {outer}", "</Directory>",
        "<Directory {apps}/private/*>", f"Require all {inner}", "WSGIProcessGroup wrong", "SetEnv WRONG 1", "</Directory>",
    )
    httpd.error_log.allow("AH01630")
    httpd.start()
    answer = httpd.get(path)
    assert answer.status == status
    if status == 200:
        assert answer.json["mod_wsgi.process_group"][1] == "right" and "WRONG" not in answer.json
