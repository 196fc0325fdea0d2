"""What a group does while it cannot be served, and when the cause is over; and limits that cause it."""

import resource
import subprocess
import time

import waiting


def turned_away(httpd, path="/"):
    """The group answers 503, at once."""
    answer = waiting.until(lambda: (lambda a: a if a.status == 503 else None)(httpd.get(path)), 10, "503")
    answer = httpd.get(path)
    assert answer.status == 503 and answer.elapsed < 1 + waiting.SLACK and answer.get("Retry-After")
    return answer


def well_again(httpd, path="/", within=5.5 + waiting.SLACK):
    begun = time.monotonic()
    waiting.until(lambda: httpd.get(path).status == 200, within, "the group to serve again")
    print(f"served again after {time.monotonic() - begun:.2f} s")


def limit(process, kind, soft=None):
    """Set a soft limit of a running process, or lift it again. As its user, since not every root may
    do so to others."""
    name = {resource.RLIMIT_NPROC: "nproc", resource.RLIMIT_NOFILE: "nofile"}[kind]
    user, group = process.uids[0], process.gids[0]
    command = ["prlimit", f"--pid={process.pid}"]
    read = subprocess.run([*command, f"--{name}", "--noheadings", "--output=HARD"], user=user, group=group, capture_output=True, text=True, check=True)
    hard = read.stdout.strip()
    subprocess.run([*command, f"--{name}={soft or hard}:{hard}"], user=user, group=group, check=True)
