"""The documentation says what the tests say."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def tracked(*patterns):
    """Files of the repository, new ones included."""
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns]
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return [ROOT / name for name in sorted(set(names)) if (ROOT / name).is_file()]


PAGES = tracked("*.md")
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


def pages():
    return pytest.mark.parametrize("page", PAGES, ids=NAMES)


def prose(page):
    """The page without what is shown as code."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)


def anchors(page):
    """What the page's headings can be linked to as."""
    found = set()
    for heading in re.findall(r"^#+ +(.+)$", prose(page), re.M):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        found.add(re.sub(r"[^\w\- ]", "", plain).replace(" ", "-"))
    return found


@pages()
def test_every_relative_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", prose(page))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{target} is not there"
        if anchor:
            assert anchor in anchors(there), f"{target}: {there.name} has no such heading"


@pages()
def test_prose_fits_a_screen(page):
    """Lines end at 100, but for tables and for what cannot be broken: a link, a piece of code."""
    for line in prose(page).splitlines():
        if line.startswith("|"):
            assert len(line) <= 330, f"a table's row is too long to be read; make it a list: {line}"
        elif len(line) > 100:
            words = re.sub(r"`[^`]*`|\[[^]]*\]\([^)]*\)\S*", "x", line.strip()).split()
            assert len(words) <= 3, line


def directives():
    return {path.stem for path in (ROOT / "docs" / "directives").glob("WSGI*.md")} - {"WSGIDaemonProcess-options"}


@pages()
def test_every_directive_that_is_named_exists(page):
    # Names of pages of somebody else, and of classes, are no directives.
    named = set(re.findall(r"\bWSGI[A-Z][A-Za-z]+", page.read_text()))
    assert named <= directives()


def options():
    """Options of WSGIDaemonProcess and of WSGIScriptAlias, and those of pip and systemd that look alike."""
    page = (ROOT / "docs" / "directives" / "WSGIDaemonProcess-options.md").read_text()
    alias = {"process-group", "application-group", "callable-object", "pass-authorization"}
    return set(re.findall(r"^## (\S+)$", page, re.M)) | alias


@pages()
def test_every_option_that_is_named_exists(page):
    named = set(re.findall(r"(?<![-\w])([a-z]+(?:-[a-z]+)+)=", page.read_text()))
    assert named <= options()


@pages()
def test_every_log_number_that_is_named_exists(page):
    known = set(re.findall(r"^## (WSGI\d{4})$", (ROOT / "docs" / "errors.md").read_text(), re.M))
    named = set(re.findall(r"\bWSGI\d{4}\b", page.read_text()))
    assert named <= known


def test_log_numbers_are_written_in_their_registry_alone():
    outside = []
    for path in tracked("src", "crates", "scripts", "examples", "build.rs"):
        if "/tests/" in str(path) or path.name == "tests.rs" or "crates/wire/src/log_id" in str(path):
            continue
        # Unit tests stand at the end of their file.
        text = re.split(r"^#\[cfg\(test\)\]\nmod tests \{", path.read_text(), flags=re.M)[0]
        for number, line in enumerate(text.splitlines(), 1):
            if re.search(r"WSGI\d{4}", line):
                outside.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    assert not outside


def rows():
    """The names of the differences: what stands in backquotes at the head of an item."""
    text = (ROOT / "DIFFERENCES.md").read_text()
    return re.findall(r"^- `([a-z0-9-]+)`$", text, re.M)


def marks():
    found = {}
    for path in (ROOT / "tests" / "server").glob("test_*.py"):
        for name in re.findall(r'mark\.differs\("([^"]+)"', path.read_text()):
            found.setdefault(name, path.name)
    return found


def test_every_difference_a_test_is_marked_with_is_a_row_of_differences_md():
    missing = {name: place for name, place in marks().items() if name not in rows()}
    assert not missing


def test_no_difference_is_listed_twice():
    assert len(rows()) == len(set(rows()))


def test_every_script_the_documentation_names_is_there():
    for page in ("README.md", "CONTRIBUTING.md", "DIFFERENCES.md", "ARCHITECTURE.md"):
        text = (ROOT / page).read_text() if (ROOT / page).exists() else ""
        for name in re.findall(r"\bscripts/([a-z]+)\b", text):
            assert (ROOT / "scripts" / name).exists(), f"{page} names scripts/{name}"


def test_the_virtual_host_of_the_readme_is_the_one_the_tests_load():
    block = (ROOT / "apache-conf" / "examples" / "yourapplication.conf").read_text()
    assert block in (ROOT / "README.md").read_text()


def test_the_page_on_reliability_names_tests_that_are_there():
    names = [
        f"{path.stem}::{name}"
        for path in (ROOT / "tests" / "server").glob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.M)
    ]
    commands = re.findall(r'`T "?([\w ]+)"?`', (ROOT / "docs" / "reliability.md").read_text())
    assert len(commands) > 20
    for command in commands:
        for word in command.split(" or "):
            assert any(word in name for name in names), f"docs/reliability.md: no test is called {word}"
