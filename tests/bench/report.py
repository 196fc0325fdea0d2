"""The tables: the targets of this module, the ratios, and all figures behind them.

Ratios are taken within a round, against what the same round measured of mod_wsgi, and only then is the
median taken: what disturbs the machine for a while disturbs both sides of a ratio.
"""

import datetime
import os
import platform
import re
import statistics
from pathlib import Path

from workloads import WORKLOADS

BASE = "mod_wsgi"


def middle(values):
    return statistics.median(values)


def spread(values, digits=2):
    return f"{middle(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def versus(left, right):
    """Ratios of two lists of rounds."""
    return [a / b for a, b in zip(left, right, strict=True)]


class Results:
    """What was measured: `rounds[workload][contestant]` is a list of figures, one per round."""

    def __init__(self):
        self.rounds = {}
        #: contestant: seconds to the first answer, one per round
        self.starts = {}
        #: contestant: system calls per request
        self.calls = {}
        #: contestant: [(role, private KiB, PSS KiB)]
        self.memory = {}

    def figures(self, workload, contestant, name):
        return [figures[name] for figures in self.rounds[workload][contestant]]

    def ratios(self, workload, contestant, base=BASE, name="cpu"):
        return versus(self.figures(workload, contestant, name), self.figures(workload, base, name))


def private(results, contestant, role):
    return [kib for what, kib, _ in results.memory[contestant] if what == role]


#: (what, most or least, limit, unit, how it is measured: a list of one value per round)
TARGETS = [
    ("hello, CPU / mod_wsgi", "<=", 0.42, "", lambda r: r.ratios("hello", "ours")),
    ("hello, CPU / uWSGI", "<=", 1.00, "", lambda r: r.ratios("hello", "ours", "uwsgi")),
    ("hello, 1 client, requests/s / mod_wsgi", ">=", 2.2, "",
     lambda r: r.ratios("hello-1", "ours", name="rate")),
    ("system calls per request", "<=", 24, "", lambda r: [r.calls["ours"]]),
    ("10 MB stream, CPU / mod_wsgi", "<=", 0.40, "", lambda r: r.ratios("stream10m", "ours")),
    ("100 MB file_wrapper, CPU / Apache's static file", "<=", 1.1, "",
     lambda r: r.ratios("file100m", "ours", "static")),
    ("1 MB upload, CPU / mod_wsgi", "<=", 0.5, "", lambda r: r.ratios("upload1m", "ours")),
    ("Flask, CPU / mod_wsgi", "<=", 0.50, "", lambda r: r.ratios("flask", "ours")),
    ("hello, CPU of 2x15 / 1x5", "<=", 1.0, "", lambda r: r.ratios("hello", "ours-2x15", "ours")),
    ("private memory of an idle worker", "<=", 6.0, " MiB",
     lambda r: [kib / 1024 for kib in private(r, "ours", "worker")]),
    ("private memory of an Apache child / without us", "<=", 1.1, "",
     lambda r: versus(sorted(private(r, "ours", "Apache child")),
                      sorted(private(r, "static", "Apache child")))),
    ("start to first answer / mod_wsgi", "<=", 1.0, "",
     lambda r: versus(r.starts["ours"], r.starts[BASE])),
]


def verdict(values, sense, limit):
    best = min(values) if sense == "<=" else max(values)

    def met(value):
        return value <= limit if sense == "<=" else value >= limit

    if met(middle(values)):
        return "met"
    return "within the spread" if met(best) else "missed"


def targets(results):
    yield "| target | | measured: median (min-max) | |\n|---|---|---|---|"
    for what, sense, limit, unit, measure in TARGETS:
        sign = "at most" if sense == "<=" else "at least"
        try:
            values = measure(results)
        except KeyError:
            yield f"| {what} | {sign} {limit:g}{unit} | not measured in this run | |"
            continue
        yield f"| {what} | {sign} {limit:g}{unit} | {spread(values)}{unit} | {verdict(values, sense, limit)} |"


def ratio_table(results, contestants):
    """One row per workload, one column per contestant."""
    yield f"| CPU per request | {' | '.join(c.title for c in contestants)} |"
    yield "|---|" + "---|" * len(contestants)
    for workload, rounds in results.rounds.items():
        cells = []
        for contestant in contestants:
            if contestant.name not in rounds:
                cells.append(contestant.unable.get(workload, "-"))
                continue
            cpu = middle(results.figures(workload, contestant.name, "cpu"))
            if BASE not in rounds or contestant.name == BASE:
                cells.append(f"{duration(cpu)}")
            else:
                cells.append(f"**{middle(results.ratios(workload, contestant.name)):.2f}** "
                             f"{extent(results.ratios(workload, contestant.name))}")
        yield f"| {WORKLOADS[workload].title} | {' | '.join(cells)} |"


def extent(values):
    return f"({min(values):.2f}-{max(values):.2f})"


def duration(microseconds):
    """1.23 ms, 132 us: three digits."""
    for unit, size in (("s", 1e6), ("ms", 1e3), ("µs", 1)):
        if microseconds >= size:
            value = microseconds / size
            return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} {unit}"
    return f"{microseconds:.2f} µs"


def number(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def figure_table(results, contestants):
    yield ("| workload | contestant | CPU per request | requests/s | requests/s / mod_wsgi | p50 | p99 "
           "| context switches |\n|---|---|---|---|---|---|---|---|")
    for workload, rounds in results.rounds.items():
        for contestant in contestants:
            if contestant.name not in rounds:
                continue
            of = {name: middle(results.figures(workload, contestant.name, name))
                  for name in ("cpu", "rate", "p50", "p99", "switches")}
            rate = "-" if BASE not in rounds else spread(
                results.ratios(workload, contestant.name, name="rate"))
            yield (f"| {WORKLOADS[workload].title} | {contestant.title} | {duration(of['cpu'])} "
                   f"| {number(of['rate'])} | {rate} | {duration(of['p50'])} "
                   f"| {duration(of['p99'])} | {of['switches']:.1f} |")


def process_table(results, contestants):
    yield ("| contestant | system calls per request | start to first answer | memory of each process: "
           "role, private (PSS), MiB |\n|---|---|---|---|")
    for contestant in contestants:
        calls = results.calls.get(contestant.name)
        starts = [seconds * 1000 for seconds in results.starts.get(contestant.name, [])]
        roles = {}
        for role, own, pss in results.memory.get(contestant.name, []):
            roles.setdefault(role, []).append(f"{own / 1024:.1f} ({pss / 1024:.1f})")
        memory = "; ".join(f"{role} {', '.join(sizes)}" for role, sizes in roles.items())
        yield (f"| {contestant.title} | {'-' if calls is None else f'{calls:.1f}'} "
               f"| {spread(starts, 0) + ' ms' if starts else '-'} | {memory} |")


def machine():
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return (f"{os.cpu_count()} cores ({model[1] if model else platform.machine()}), Linux "
            f"{platform.release().split('-')[0]}")


def header(command, versions, what):
    today = datetime.date.today().isoformat()
    return (f"`{command}` on {today}: {what}. {machine()}; "
            + ", ".join(f"{name} {version}" for name, version in versions.items()) + ".")


def put_between(path, name, text):
    """Replaces what stands between the two comments of that name."""
    begin, end = f"<!-- begin: {name} -->\n", f"<!-- end: {name} -->"
    before, found, rest = path.read_text().partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"{path} has no lines {begin.strip()} and {end}")
    path.write_text(f"{before}{begin}{text.strip()}\n{end}{after}")
