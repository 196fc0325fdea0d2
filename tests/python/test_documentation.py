"""The documentation says what the tests say."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def rows():
    """The names of the differences: what stands in backquotes in a row's first column."""
    text = (ROOT / "DIFFERENCES.md").read_text()
    return re.findall(r"^\| `([a-z0-9-]+)` \|", text, re.M)


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
