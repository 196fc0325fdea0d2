"""Pythons and virtual environments that a worker's user can read.

A version manager keeps its Pythons in a home directory, which other users may not enter; they
are copied, once, to a place everybody can read. What is found and what was made is kept between
runs below CACHE.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

CACHE = Path("/var/cache/wsgi-tests")
DEBIAN = "/usr/bin/python3"
UNNEEDED = ("test", "tests", "site-packages", "idlelib", "tkinter", "turtledemo", "__pycache__", "*.a", "config-*")


@dataclass(frozen=True)
class Python:
    """One installation: `version` as (3, 12), its prefix and its interpreter."""

    version: tuple
    prefix: Path
    executable: Path

    def __str__(self):
        return ".".join(map(str, self.version))

    def virtualenv(self, path, **modules):
        """Make a virtual environment at `path`; each of `modules` is a module only it has."""
        run([self.executable, "-m", "venv", "--without-pip", path])
        site = next(Path(path).glob("lib/python3*/site-packages"))
        for name, source in modules.items():
            (site / f"{name}.py").write_text(source)
        return Path(path)


@contextmanager
def locked(home):
    """Only one process of any suite makes what is kept at `home`."""
    home.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with open(home.with_name(f"{home.name}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def run(command, **options):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def debian():
    """The Python of the distribution."""
    version = run([DEBIAN, "-c", "import sys; print(*sys.version_info[:2])"])
    return Python(tuple(map(int, version.split())), Path("/usr"), Path(DEBIAN))


def managed():
    """Prefixes a version manager holds on this machine: {(3, 12): path}, the newest patch each."""
    roots = [os.environ.get("PYENV_ROOT"), Path.home() / ".pyenv", "/opt/pyenv", "/usr/local/pyenv"]
    found = {}
    for root in filter(None, roots):
        for prefix in Path(root).glob("versions/3.*"):
            match = re.fullmatch(r"3\.(\d+)\.(\d+)", prefix.name)
            if match and (prefix / "bin" / f"python3.{match[1]}").exists():
                key, patch = (3, int(match[1])), int(match[2])
                if key not in found or found[key][0] < patch:
                    found[key] = (patch, prefix)
    return {key: prefix for key, (_, prefix) in found.items()}


def readable(version):
    """A copy of the managed Python `version` that everybody can read; None where there is none."""
    source = managed().get(version)
    if source is None:
        return None
    home = CACHE / "pythons" / source.name
    name = f"python3.{version[1]}"
    with locked(home):
        if home.exists():
            return Python(version, home, home / "bin" / name)
        fresh = home.with_name(f"{home.name}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        (fresh / "bin").mkdir(parents=True)
        shutil.copytree(source / "lib" / name, fresh / "lib" / name, ignore=shutil.ignore_patterns(*UNNEEDED))
        (fresh / "lib" / name / "site-packages").mkdir(exist_ok=True)
        relocate(source / "bin" / name, fresh / "bin" / name, source)
        (fresh / "bin" / "python3").symlink_to(name)
        for library in (source / "lib").glob("libpython3*.so*"):
            relocate(library, fresh / "lib" / library.name, source)
        run(["chmod", "-R", "a+rX", fresh])
        fresh.rename(home)
    return Python(version, home, home / "bin" / name)


def missing(*versions):
    """A test cannot run, as `versions` are not here. It fails where this machine is said to have them."""
    required = os.environ.get("WSGI_TEST_REQUIRED_PYTHONS", "").split()
    names = [".".join(map(str, version)) for version in versions]
    wrong = [name for name in names if name in required]
    assert not wrong, f"not found, though required: {wrong}"
    pytest.skip(f"not on this machine: Python {', '.join(names)}")


def relocate(source, target, prefix):
    """Copy a program; where its run path names the old prefix, let it look beside itself."""
    old = str(prefix / "lib").encode() + b"\0"
    new = b"$ORIGIN/../lib"
    data = source.read_bytes()
    if len(new) < len(old):
        data = data.replace(b"\0" + old, b"\0" + new.ljust(len(old), b"\0"))
    target.write_bytes(data)
    target.chmod(0o755)


def environment(*requirements, python=None):
    """A virtual environment with packages from the index, made once per set of them."""
    python = python or debian()
    key = hashlib.sha256(" ".join((str(python.executable), *sorted(requirements))).encode()).hexdigest()[:12]
    home = CACHE / "environments" / f"{python}-{key}"
    # A virtual environment cannot be moved, so a half-made one is told by its missing mark.
    complete = home / "complete"
    with locked(home):
        if not complete.exists():
            shutil.rmtree(home, ignore_errors=True)
            run([python.executable, "-m", "venv", home])
            run([home / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements])
            run(["chmod", "-R", "a+rX", home])
            complete.touch()
    return home


if __name__ == "__main__":
    for found in [debian(), *filter(None, (readable(version) for version in sorted(managed()) if version >= (3, 10)))]:
        print(found, found.executable, file=sys.stdout)
