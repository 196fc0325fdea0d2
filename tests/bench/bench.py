"""Measures us and our peers side by side in one run, and prints ratios.

All contestants are up at once; a round measures each of them once per workload, so that what
disturbs the machine disturbs all. The figure that counts is CPU time per request, summed over
every server process; ratios are taken within a round, and the median is printed with its spread.
Ends with 1 when a contestant does not start or answers wrongly.
"""

import argparse
import importlib.metadata
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import profiling
import report
import scaling
from app import FILE, FILE_SIZE
from contestants import contestants
from figures import system_calls
from workloads import WORKLOADS, Wrong, check, load

#: What the targets need, in about three minutes.
QUICK = {"rounds": 3, "workloads": ["hello", "hello-1", "stream10m", "file100m", "upload1m", "flask"],
         "contestants": ["ours", "ours-2x15", "mod_wsgi", "uwsgi", "static", "limit-rt"]}
FULL = {"rounds": 5, "workloads": list(WORKLOADS), "contestants": None}
GROWTH = {"rounds": 3}
PROFILE = {"workloads": ["hello"]}


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    for name in ("venv", "mod-wsgi", "ours", "built"):
        # Said by scripts/bench.
        parser.add_argument(f"--{name}", type=Path, required=True, help=argparse.SUPPRESS)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--quick", action="store_true",
                      help="what the targets need, in about 3 minutes; all takes about 15")
    what.add_argument("--growth", action="store_true",
                      help="how cost grows with clients, processes, groups, idle connections, queues")
    what.add_argument("--profile", action="store_true",
                      help="where a request's time goes: perf's samples, system calls in order")
    parser.add_argument("--rounds", type=int, help="5, or 3 with --quick and --growth")
    parser.add_argument("--seconds", type=int, default=1, help="of each measurement")
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS)
    parser.add_argument("--contestants", nargs="+", help="ours mod_wsgi ..., see contestants.py")
    parser.add_argument("--curves", nargs="+", choices=scaling.CURVES, help="with --growth: which")
    parser.add_argument("--markdown", type=Path, metavar="FILE",
                        help="write the tables between the comments of FILE, and curves beside it")
    args = parser.parse_args()
    default = (GROWTH if args.growth else PROFILE if args.profile else QUICK if args.quick else FULL)
    for name, value in default.items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    cpus = sorted(os.sched_getaffinity(0))
    args.server_cpu, args.client_cpu = str(cpus[0]), str(cpus[-1])
    if len(cpus) == 1:
        parser.error("needs two cores: client and server are pinned apart")
    args.command = shlex.join(["scripts/bench", *(
        a for i, a in enumerate(sys.argv[1:], 1)
        if not {"--venv", "--mod-wsgi", "--ours", "--built"} & {a, sys.argv[i - 1]})])
    return args


def versions():
    apache = subprocess.run(["/usr/sbin/apache2", "-v"], capture_output=True, text=True).stdout
    found = {"Python": ".".join(map(str, sys.version_info[:3])),
             "Apache": re.search(r"Apache/(\S+)", apache)[1] + " (event)"}
    for name in ("mod_wsgi", "uWSGI", "gunicorn", "granian", "Flask", "Django"):
        found[name] = importlib.metadata.version(name)
    return found


def say(text):
    """What is being done, for somebody who watches."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def main():
    args = arguments()
    # The load and everything else that is not a server runs on the client's core.
    os.sched_setaffinity(0, {int(args.client_cpu)})
    # Whoever ends the benchmark ends the servers.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("scripts/bench: ended"))
    try:
        if args.growth:
            scaling.run(args, versions(), say)
        elif args.profile:
            profiling.run(args, say)
        else:
            compare(args)
    except (Wrong, RuntimeError) as error:
        say("")
        sys.exit(f"scripts/bench: {error}")
    finally:
        shutil.rmtree(args.built, ignore_errors=True)


def compare(args):
    make = contestants(args)
    names = args.contestants or list(make)
    if unknown := set(names) - set(make):
        sys.exit(f"scripts/bench: {', '.join(unknown)} is none of {', '.join(make)}")
    with open(FILE, "wb") as file:
        file.truncate(FILE_SIZE)
    os.chmod(FILE, 0o644)
    results = report.Results()
    started = []
    try:
        starts(results, args, [make[name] for name in names])
        for name in names:
            say(f"starting {name}")
            started.append(make[name]())
            started[-1].start()
            check(started[-1], WORKLOADS["hello"])
        for contestant in started:
            results.memory[contestant.name] = contestant.memory()
        for contestant in started:
            say(f"system calls of {contestant.name}")
            results.calls[contestant.name] = system_calls(contestant)
        for workload in args.workloads:
            measure(results, workload, started, args)
        say("")
        tell(results, started, args)
    finally:
        for contestant in started:
            contestant.stop()


def starts(results, args, makers):
    """Starts and ends each contestant in every round, nothing else of it being up."""
    for round_ in range(args.rounds):
        for make in makers:
            contestant = make()
            say(f"start {round_ + 1}/{args.rounds} {contestant.name}")
            try:
                results.starts.setdefault(contestant.name, []).append(contestant.start())
            finally:
                contestant.stop()


def measure(results, name, contestants, args):
    workload = WORKLOADS[name]
    takers = [c for c in contestants
              if (c.only is None or name in c.only) and name not in c.unable]
    # Of the long answers there are few in a second.
    seconds = args.seconds * (2 if workload.by_bytes else 1)
    rounds = results.rounds[name] = {}
    for contestant in takers:
        check(contestant, workload)
    for round_ in range(args.rounds):
        # Nobody is always first, or always after the same one.
        first = round_ * 3 % len(takers)
        for contestant in takers[first:] + takers[:first]:
            say(f"{name} {round_ + 1}/{args.rounds} {contestant.name}")
            rounds.setdefault(contestant.name, []).append(load(contestant, workload, seconds))


def tell(results, started, args):
    head = report.header(args.command, versions(),
                         f"rounds: {args.rounds}, of {args.seconds} s for each contestant and workload, "
                         "one core for all server processes and one for the client")
    text = [head, "", *report.targets(results), "",
            "CPU per request as a ratio to that of mod_wsgi 1x5 in the same round: **median** (min-max); "
            "of mod_wsgi 1x5 the time itself.", "",
            *report.ratio_table(results, started), "", *report.process_table(results, started), "",
            "<details><summary>All figures: medians of the rounds</summary>", "",
            *report.figure_table(results, started), "", "</details>"]
    print("\n".join(text))
    if args.markdown:
        report.put_between(args.markdown, "scripts/bench", "\n".join(text))


if __name__ == "__main__":
    main()
