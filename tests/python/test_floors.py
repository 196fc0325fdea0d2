"""scripts/floors finds what it is there to find."""

import subprocess
from pathlib import Path

import pytest

FLOORS = Path(__file__).resolve().parents[2] / "scripts" / "floors"
FORBID = "#![forbid(unsafe_code)]\n"


def tree(root, **files):
    """A workspace with these files under src/; `__` in a name stands for `/`."""
    (root / "Cargo.toml").write_text('[package]\nname = "x"\n')
    for name in ("child", "parent"):
        (root / "src" / name).mkdir(parents=True)
        (root / "src" / name / "mod.rs").write_text(FORBID)
    for name, text in files.items():
        path = root / "src" / (name.replace("__", "/") + ".rs")
        path.write_text(text)


def check(root):
    done = subprocess.run([FLOORS, str(root)], capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


@pytest.mark.parametrize("text", [
    "use httpd::request::Request;\n",
    "use crate::{child::{Request, Server}, child::Dir};\n",
    "// use crate::parent::Supervisor;\n",
    'const NOTE: &str = "crate::parent::x";\n',
    "use super::own::Thing;\n",
])
def test_what_is_allowed_passes(tmp_path, text):
    tree(tmp_path, child__mod=FORBID, child__relay=text)
    assert check(tmp_path) == (0, "")


@pytest.mark.parametrize("name, text, wanted", [
    ("child__relay", "use crate::{child::Request, parent::Supervisor};\n", "child imports parent"),
    ("child__relay", "use super::super::parent::Supervisor;\n", "child imports parent"),
    ("parent__talk", "use crate::{\n    parent::{Dir, Server},\n    child,\n};\n", "parent imports child"),
    ("child__table", "fn f() { unsafe { g() } }\n", "unsafe outside"),
])
def test_what_is_not_allowed_is_named_with_file_and_line(tmp_path, name, text, wanted):
    tree(tmp_path, **{name: text})
    code, said = check(tmp_path)
    assert code == 1
    assert wanted in said and f"src/{name.replace('__', '/')}.rs:" in said


def test_unsafe_is_at_home_in_its_rooms(tmp_path):
    tree(tmp_path)
    room = tmp_path / "crates" / "httpd" / "src"
    room.mkdir(parents=True)
    (room / "pool.rs").write_text("unsafe fn f() {}\n")
    assert check(tmp_path) == (0, "")


def test_a_file_nobody_forbids_unsafe_in_is_named(tmp_path):
    tree(tmp_path, child__mod="mod relay;\n", child__relay="\n")
    code, said = check(tmp_path)
    assert code == 1 and "src/child/relay.rs" in said


def test_a_dependency_that_goes_up_is_named(tmp_path):
    tree(tmp_path)
    (tmp_path / "crates" / "wire").mkdir(parents=True)
    (tmp_path / "crates" / "wire" / "Cargo.toml").write_text(
        '[package]\nname = "wsgi-wire"\n[dependencies]\nos.workspace = true\nlibc = "0.2"\n'
    )
    code, said = check(tmp_path)
    assert code == 1 and "crates/wire/Cargo.toml: depends on os" in said and "libc" not in said


def runtime(root, **files):
    """A runtime with these files under crates/runtime/src; `__` in a name stands for `/`."""
    tree(root)
    source = root / "crates" / "runtime" / "src"
    for floor in ("process", "python", "exchange", "wsgi", "worker"):
        (source / floor).mkdir(parents=True)
        (source / floor / "mod.rs").write_text(FORBID)
    for name, text in files.items():
        (source / (name.replace("__", "/") + ".rs")).write_text(text)


@pytest.mark.parametrize("name, text", [
    ("wsgi__environ", "use crate::{exchange::Exchange, process::fork, python::gil::Gil};\nuse super::state::State;\n"),
    ("worker__request", "use crate::wsgi::application;\nuse crate::python::gil::Gil;\n"),
    ("python__object", "fn f() { unsafe { g() } }\n"),
    ("wsgi__mod", FORBID + "pub use state::State;\n"),
])
def test_what_the_floors_of_the_runtime_allow_passes(tmp_path, name, text):
    runtime(tmp_path, **{name: text})
    assert check(tmp_path) == (0, "")


@pytest.mark.parametrize("name, text, wanted", [
    ("python__module", "use crate::worker::run;\n", "python imports worker"),
    ("python__state", "use crate::wsgi::scripts;\n", "python imports wsgi"),
    ("python__gil", "use crate::exchange::Exchange;\n", "python imports exchange"),
    ("exchange__response", "use crate::python::gil::Gil;\n", "exchange imports python"),
    ("exchange__response", "use super::super::process::process_log;\n", "exchange imports process"),
    ("wsgi__native", "fn f() { crate::worker::service::note_ending() }\n", "wsgi imports worker"),
    ("process__fork", "use crate::{\n    python::gil::Gil,\n};\n", "process imports python"),
    ("wsgi__input", "fn f() { unsafe { g() } }\n", "unsafe outside"),
    ("worker__accept", "fn f() { unsafe { g() } }\n", "unsafe outside"),
])
def test_what_the_floors_of_the_runtime_do_not_allow_is_named(tmp_path, name, text, wanted):
    runtime(tmp_path, **{name: text})
    code, said = check(tmp_path)
    assert code == 1
    assert wanted in said and f"crates/runtime/src/{name.replace('__', '/')}.rs:" in said


def test_a_circle_of_files_in_the_adapter_is_named(tmp_path):
    runtime(
        tmp_path,
        wsgi__state="use super::scripts::Scripts;\n",
        wsgi__scripts="use super::names::Names;\n",
        wsgi__names="use crate::wsgi::state::State;\n",
    )
    code, said = check(tmp_path)
    assert code == 1 and "a circle of imports" in said
    assert all(name in said for name in ("state", "scripts", "names"))


@pytest.mark.parametrize("one, other", [
    (("src/child/status/mod.rs", "use super::supervisor::status_query;\n"),
     ("src/child/supervisor/worker_death.rs", "use super::super::status::HANDLER;\n")),
    (("crates/supervisor/src/launch.rs", "use crate::python_check::PythonInterpreter;\n"),
     ("crates/supervisor/src/python_check.rs", "use crate::launch;\n")),
])
def test_a_circle_of_files_or_folders_is_named(tmp_path, one, other):
    forbids = "#![forbid(unsafe_code)]\n"
    for name, text in (one, other):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(forbids + text)
    code, said = check(tmp_path)
    assert code == 1 and "a circle of imports" in said
    path = tmp_path / other[0]
    path.write_text(f"{forbids}#[cfg(test)]\nmod tests {{\n    {other[1]}}}\n")
    assert check(tmp_path) == (0, "")
