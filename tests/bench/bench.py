"""Measures us and our peers side by side in one run, and prints ratios.

All contestants are up at once; a round measures each of them once per workload, so that what
disturbs the machine disturbs all. The figure that counts is CPU time per request, summed over
every server process; ratios are taken within a round, and the median is printed with its spread.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from app import FILE, FILE_SIZE
from contestants import (CHECKOUT, Granian, Gunicorn, HERE, Limit, Module, Static, Uwsgi, wait_for)

TICK = os.sysconf("SC_CLK_TCK")

#: name: (path, connections, extra request headers, request body size)
WORKLOADS = {
    "hello": ("hello", 16, {}, 0),
    "hello-1": ("hello", 1, {}, 0),
    "hello-64": ("hello", 64, {}, 0),
    "hello-close": ("hello", 16, {"Connection": "close"}, 0),
    "headers200": ("hello", 16, {f"X-Bench-{i}": "value-of-usual-length" for i in range(180)}, 0),
    "body100k": ("body100k", 16, {}, 0),
    "stream10m": ("stream10m", 4, {}, 0),
    "file100m": ("file100m", 2, {}, 0),
    "upload1m": ("upload", 4, {}, 1 << 20),
    "flask": ("flask", 16, {}, 0),
    "django": ("django", 16, {}, 0),
    "cpu2ms": ("cpu2ms", 16, {}, 0),
}


def cpu_seconds(pids):
    """User and system time of the processes so far, all threads, dead ones included."""
    total = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total / TICK


def switches(pids):
    total = 0
    for pid in pids:
        for status in Path(f"/proc/{pid}/task").glob("*/status"):
            try:
                total += sum(map(int, re.findall(r"ctxt_switches:\s+(\d+)", status.read_text())))
            except OSError:
                pass
    return total


def private_kib(pid):
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return sum(map(int, re.findall(r"Private_(?:Clean|Dirty):\s+(\d+)", rollup)))


def load(contestant, workload, seconds, client_cpus):
    """Runs wrk against the contestant for so long; a dict of figures."""
    name, connections, headers, upload = WORKLOADS[workload]
    command = ["taskset", "-c", client_cpus, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s",
               "--latency", "--timeout", "30s"]
    for key, value in headers.items():
        command += ["-H", f"{key}: {value}"]
    script = None
    if upload:
        script = tempfile.NamedTemporaryFile("w", suffix=".lua")
        script.write(f'wrk.method = "POST"\nwrk.body = string.rep("z", {upload})\n')
        script.flush()
        command += ["-s", script.name]
    command.append(f"http://127.0.0.1:{contestant.port}{contestant.path(name)}")
    pids = contestant.pids()
    cpu, switched, began = cpu_seconds(pids), switches(pids), time.monotonic()
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    took = time.monotonic() - began
    pids = contestant.pids()
    cpu, switched = cpu_seconds(pids) - cpu, switches(pids) - switched
    count = int(re.search(r"(\d+) requests in", output)[1])
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)",
                       output)
    failed = int(bad[1]) if bad else 0
    # With "Connection: close" wrk counts the closing itself as a read error.
    if broken and "Connection" not in headers:
        failed += sum(map(int, broken.groups()))
    if count == 0:
        return None
    return {"cpu": cpu / count * 1e6, "rate": count / took, "p50": latency(output, "50%"),
            "p99": latency(output, "99%"), "switches": switched / count, "failed": failed}


def latency(output, which):
    value, unit = re.search(rf"{which}\s+([\d.]+)(us|ms|s)", output).groups()
    return float(value) * {"us": 1, "ms": 1e3, "s": 1e6}[unit]


def system_calls(contestant, requests=300):
    """System calls per keep-alive request over all processes, as strace counts them."""
    import http.client
    client = http.client.HTTPConnection("127.0.0.1", contestant.port)

    def send(count):
        for _ in range(count):
            client.request("GET", contestant.path("hello"))
            client.getresponse().read()

    with tempfile.NamedTemporaryFile("r") as log:
        attach = [word for pid in contestant.pids() for word in ("-p", str(pid))]
        tracer = subprocess.Popen(["strace", "-f", "-qq", "-o", log.name, *attach],
                                  stderr=subprocess.PIPE)
        try:
            # The first lines appear when strace is attached and requests flow.
            send(1)
            wait_for(lambda: (send(1), os.path.getsize(log.name))[1] > 0, "strace attaching")
            send(5)
            before = sum(1 for _ in open(log.name))
            send(requests)
            time.sleep(0.1)
            after = sum(1 for line in open(log.name))
            resumed = sum(1 for line in open(log.name) if "resumed>" in line)
        finally:
            tracer.terminate()
            tracer.wait()
    return (after - before - resumed) / requests


def spread(values):
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--venv", type=Path, required=True)
    parser.add_argument("--mod-wsgi", type=Path, required=True, help="the C module's .so")
    parser.add_argument("--built", type=Path, required=True, help="folder of limit.so and peer")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2, help="of each measurement")
    parser.add_argument("--workloads", nargs="+", default=list(WORKLOADS), choices=WORKLOADS)
    parser.add_argument("--contestants", nargs="+")
    parser.add_argument("--no-strace", action="store_true")
    args = parser.parse_args()

    cpus = sorted(os.sched_getaffinity(0))
    server, client = str(cpus[0]), str(cpus[-1])
    ours = CHECKOUT / "target/release/libmod_wsgi.so"
    make = {
        "ours": lambda n: Module(n, args.venv, server, ours),
        "ours-2x15": lambda n: Module(n, args.venv, server, ours, 2, 15),
        "mod_wsgi": lambda n: Module(n, args.venv, server, args.mod_wsgi),
        "mod_wsgi-2x15": lambda n: Module(n, args.venv, server, args.mod_wsgi, 2, 15),
        "uwsgi": lambda n: Uwsgi(n, args.venv, server),
        "gunicorn": lambda n: Gunicorn(n, args.venv, server),
        "granian": lambda n: Granian(n, args.venv, server),
        "static": lambda n: Static(n, args.venv, server),
        "limit": lambda n: Limit(n, args.venv, server, args.built, "limit"),
        "limit-rt": lambda n: Limit(n, args.venv, server, args.built, "limit-rt"),
    }
    names = args.contestants or list(make)
    with open(FILE, "wb") as file:
        file.truncate(FILE_SIZE)
    os.chmod(FILE, 0o644)
    started = []
    try:
        for name in names:
            contestant = make[name](name)
            started.append(contestant)
            contestant.start()
        report(measure(started, args, client), started, args)
    finally:
        for contestant in started:
            contestant.stop()
        os.unlink(FILE)


def measure(contestants, args, client):
    results = {}
    for workload in args.workloads:
        takers = [c for c in contestants if c.only is None or workload in c.only]
        for contestant in takers:
            path = WORKLOADS[workload][0]
            url = f"http://127.0.0.1:{contestant.port}{contestant.path(path)}"
            data = b"z" if path == "upload" else None
            assert urllib.request.urlopen(url, data, timeout=30).status == 200, contestant.name
        for round_ in range(args.rounds):
            for contestant in takers:
                print(f"\r{workload} {round_ + 1}/{args.rounds} {contestant.name}      ",
                      end="", file=sys.stderr, flush=True)
                figures = load(contestant, workload, args.seconds, client)
                results.setdefault((workload, contestant.name), []).append(figures)
    print(file=sys.stderr)
    return results


def report(results, contestants, args):
    base = "mod_wsgi" if any(c.name == "mod_wsgi" for c in contestants) else contestants[0].name
    print(f"CPU per request over all server processes, as a ratio to {base}: median (min-max) of "
          f"{args.rounds} rounds; client and server pinned apart\n")
    print("| workload | contestant | CPU ratio | CPU us | requests/s | rate ratio | p50 us | p99 us "
          "| switches | failed |\n|---|---|---|---|---|---|---|---|---|---|")
    for workload in args.workloads:
        for contestant in contestants:
            rounds = results.get((workload, contestant.name))
            if not rounds:
                continue
            against = results.get((workload, base))
            pairs = [(a, b) for a, b in zip(rounds, against or []) if a and b]
            kept = [r for r in rounds if r]
            if not kept:
                print(f"| {workload} | {contestant.name} | no request was answered |")
                continue
            middle = {k: statistics.median(r[k] for r in kept) for k in kept[0]}
            ratio = spread([a["cpu"] / b["cpu"] for a, b in pairs]) if pairs else "-"
            rate = spread([a["rate"] / b["rate"] for a, b in pairs]) if pairs else "-"
            print(f"| {workload} | {contestant.name} | {ratio} | {middle['cpu']:.1f} "
                  f"| {middle['rate']:.0f} | {rate} | {middle['p50']:.0f} | {middle['p99']:.0f} "
                  f"| {middle['switches']:.1f} | {sum(r['failed'] for r in kept)} |")
    print("\n| contestant | system calls per keep-alive request | private memory, KiB, each process |"
          "\n|---|---|---|")
    for contestant in contestants:
        memory = "/".join(str(private_kib(pid)) for pid in contestant.pids())
        calls = "-" if args.no_strace else f"{system_calls(contestant):.1f}"
        print(f"| {contestant.name} | {calls} | {memory} |")


if __name__ == "__main__":
    main()
