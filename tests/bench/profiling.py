"""Where a request's time goes: samples by process and place, and one request's system calls in order.

Runs in: the benchmark. perf and strace are its children and on the client's core.
"""

import collections
import re
import signal
import subprocess
import tempfile

from contestants import contestants
from figures import Tracer
from workloads import WORKLOADS, check, load

#: The name of a file of code begins with: what it is called in the table. The first that fits counts.
PLACES = [("libmod_wsgi", "our module"), ("mod_wsgi-py", "the C module"), ("libwsgi_runtime", "our runtime"),
          ("libpython", "CPython"), ("python3", "CPython"), ("libc.so", "libc"), ("libpthread", "libc"),
          ("apache2", "httpd and APR"), ("mod_", "httpd and APR"), ("libapr", "httpd and APR"),
          ("[vdso]", "libc")]
SAMPLES = 4000  # a second


def run(args, say):
    make = contestants(args)
    for name in args.contestants or ["ours", "mod_wsgi"]:
        contestant = make[name]()
        try:
            say(f"profile of {name}")
            contestant.start()
            check(contestant, WORKLOADS["hello"])
            roles = {pid: contestant.role(pid) for pid in contestant.pids()}
            print(f"## {contestant.title}\n")
            for workload in args.workloads:
                check(contestant, WORKLOADS[workload])
                for line in profile(contestant, roles, WORKLOADS[workload], args.seconds):
                    print(line)
            for line in one_request(contestant, roles):
                print(line)
        finally:
            contestant.stop()


def profile(contestant, roles, workload, seconds):
    """Microseconds of each role and place, from perf's samples and the CPU time per request."""
    with tempfile.NamedTemporaryFile(suffix=".perf") as data:
        perf = subprocess.Popen(["perf", "record", "-q", "-g", "-F", str(SAMPLES), "-o", data.name,
                                 "-p", ",".join(map(str, roles))], stderr=subprocess.PIPE, text=True)
        figures = load(contestant, workload, max(seconds, 2))
        perf.send_signal(signal.SIGINT)
        _, complaint = perf.communicate(timeout=30)
        if "rror" in complaint or "denied" in complaint:
            raise RuntimeError(f"perf cannot watch {contestant.name}: {complaint.strip()}")
        script = subprocess.run(["perf", "script", "-i", data.name, "--no-inline",
                                 "-F", "pid,ip,sym,dso"], capture_output=True, text=True, check=True)
    places, symbols = collections.Counter(), collections.Counter()
    for pid, frames in samples(script.stdout):
        role = roles.get(pid, "another")
        places[role, place(frames)] += 1
        symbols[role, frames[0][0], frames[0][1].rpartition("/")[2]] += 1
    total = sum(places.values())
    each = figures["cpu"] / total
    yield (f"{workload.title}: {figures['cpu']:.1f} µs per request, {figures['switches']:.1f} context "
           f"switches, {figures['rate']:.0f} requests/s; {total} samples\n")
    yield "| process | where | µs per request |\n|---|---|---|"
    by_role = collections.Counter()
    for (role, _), count in places.items():
        by_role[role] += count
    for role, in_role in by_role.most_common():
        yield f"| {role} | **all** | **{in_role * each:.1f}** |"
        for (other, where), count in places.most_common():
            if other == role and count * each >= 0.2:
                yield f"| | {where} | {count * each:.1f} |"
    yield "\n| process | function | in | µs per request |\n|---|---|---|---|"
    for (role, symbol, file), count in symbols.most_common(25):
        yield f"| {role} | `{symbol}` | {file} | {count * each:.2f} |"
    yield ""


def samples(text):
    """(pid, [(function, file), ...]) of each sample, innermost first."""
    for block in text.split("\n\n"):
        lines = block.strip().splitlines()
        if len(lines) < 2:
            continue
        frames = [re.match(r"\s*[0-9a-f]+ (.*?) \((.*)\)$", line) for line in lines[1:]]
        frames = [(frame[1], frame[2]) for frame in frames if frame]
        if frames:
            yield int(lines[0]), frames


def place(frames):
    """A system call by its name, else the file of the innermost function."""
    file = frames[0][1]
    if "kernel" in file or file == "[unknown]":
        # From the outermost: a call may go through functions of other calls.
        for symbol, _ in reversed(frames):
            call = re.match(r"(?:__x64_sys_|__arm64_sys_|ksys_|__sys_|do_(?=readv|writev))(\w+)", symbol)
            if call:
                return f"kernel: {call[1]}"
        return "kernel: else"
    name = file.rpartition("/")[2]
    return next((title for start, title in PLACES if name.startswith(start)), name)


def one_request(contestant, roles):
    """The system calls of one request on a kept connection, as they came."""
    with contestant.client() as client, Tracer(contestant) as tracer:
        for _ in range(20):
            client.get("hello")
        before = tracer.lines()
        client.get("hello")
        lines = tracer.lines()[len(before):]
    rows, unfinished = [], {}
    for line in lines:
        thread, told = line.split(None, 1)
        role = roles.get(tracer.process_of(int(thread)), "?")
        if role in ("Apache parent", "supervisor"):
            # They look around once a second, whatever is asked.
            continue
        result = told.rpartition(" = ")[2].strip() if " = " in told else ""
        resumed = re.match(r"<\.\.\. (\w+) resumed>", told)
        call = re.match(r"(\w+)\((.*?)\)?(?: +=.*| <unfinished.*)?$", told)
        if resumed and thread in unfinished:
            unfinished.pop(thread)[-1] = result
        elif resumed:
            # It had waited since before.
            rows.append([role, resumed[1], "(woken)", result])
        elif call:
            rows.append([role, call[1], call[2][:64], result])
            if "<unfinished" in told:
                unfinished[thread] = rows[-1]
    yield "System calls of one request, in order:\n\n```"
    for role, call, words, result in rows:
        yield f"{role:14} {call:14} {words:64} {result[:40] or '(waits)'}"
    yield "```\n"
