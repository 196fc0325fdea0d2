"""The workloads, the check of what a contestant answers, and the load that wrk makes.

Runs in: the benchmark; wrk is its child and, like it, on the client's core.
"""

import http.client
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass, field

from app import BODY_100K, FILE_SIZE
from figures import cpu_seconds, settle, switches


@dataclass(frozen=True)
class Workload:
    title: str
    path: str
    clients: int
    length: int
    headers: dict = field(default_factory=dict)
    upload: int = 0
    #: Few and long answers are counted by their bytes: the last ones are cut when time is over.
    by_bytes: bool = False


WORKLOADS = {
    "hello": Workload("hello, 16 clients", "hello", 16, 13),
    "hello-1": Workload("hello, 1 client", "hello", 1, 13),
    "hello-64": Workload("hello, 64 clients", "hello", 64, 13),
    "hello-close": Workload("hello, `Connection: close`", "hello", 16, 13,
                            {"Connection": "close"}),
    "headers200": Workload("200 request headers", "hello", 16, 13,
                           {f"X-Bench-{i}": "value-of-usual-length" for i in range(199)}),
    "body100k": Workload("100 KB body", "body100k", 16, len(BODY_100K)),
    "stream10m": Workload("10 MB stream", "stream10m", 4, 160 * 65536, by_bytes=True),
    "file100m": Workload("100 MB file_wrapper", "file100m", 2, FILE_SIZE, by_bytes=True),
    "upload1m": Workload("1 MB upload", "upload", 4, 7, upload=1 << 20),
    "flask": Workload("Flask", "flask", 16, 13),
    "django": Workload("Django", "django", 16, 13),
    "cpu2ms": Workload("2 ms of CPU", "cpu2ms", 16, 13),
}

DONE = """
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("FIGURES %d %d %d %f %f %d %d %d %d %d\\n", summary.requests, summary.bytes,
    summary.duration, latency:percentile(50), latency:percentile(99), e.connect, e.read, e.write,
    e.status, e.timeout))
end
"""


class Wrong(Exception):
    """A contestant did not answer as it should."""


class Client:
    """One keep-alive client."""

    def __init__(self, contestant):
        self.contestant = contestant
        self.connection = http.client.HTTPConnection("127.0.0.1", contestant.port, timeout=60)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()

    def get(self, path, length=13, body=None, headers={}):
        """Sends a request and reads the answer; raises unless it is the right one."""
        self.connection.request("POST" if body else "GET", self.contestant.path(path), body, headers)
        answer = self.connection.getresponse()
        got = answer.read()
        if answer.status != 200 or len(got) != length:
            raise Wrong(f"{self.contestant.name} answered /{path} with status {answer.status} and "
                        f"{len(got)} bytes, not with 200 and {length}: {got[:200]!r}\n"
                        f"{self.contestant.log_tail()}")
        return got


def check(contestant, workload):
    """One right answer, then some at once, so that each worker has answered before it is measured."""
    body = b"z" * workload.upload or None
    with contestant.client() as client:
        got = client.get(workload.path, workload.length, body, workload.headers)
        if body and got != str(len(body)).encode():
            raise Wrong(f"{contestant.name} read {got!r} bytes of an upload of {len(body)}")
    if workload.by_bytes:
        return
    failures = []

    def some():
        try:
            with contestant.client() as client:
                for _ in range(5):
                    client.get(workload.path, workload.length, body)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=some) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def load(contestant, workload, seconds, script=""):
    """wrk against the contestant for so long: a dict of figures per request."""
    command = ["wrk", "-t1", f"-c{workload.clients}", f"-d{seconds}s", "--timeout", "30s"]
    for key, value in workload.headers.items():
        command += ["-H", f"{key}: {value}"]
    script += DONE
    if workload.upload:
        script += f'wrk.method = "POST"\nwrk.body = string.rep("z", {workload.upload})\n'
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        command += ["-s", file.name,
                    f"http://127.0.0.1:{contestant.port}{contestant.path(workload.path)}"]
        settle(contestant)
        pids = contestant.pids()
        cpu, switched, began = cpu_seconds(pids), switches(pids), time.monotonic()
        output = subprocess.run(command, capture_output=True, text=True, check=True,
                                timeout=seconds + 60).stdout
        took = time.monotonic() - began
        pids = contestant.pids()
        cpu, switched = cpu_seconds(pids) - cpu, switches(pids) - switched
        # What it goes on with must not take from the next one.
        settle(contestant)
    words = output[output.index("FIGURES"):].split()
    count, received, duration = map(int, words[1:4])
    p50, p99 = map(float, words[4:6])
    connect, read, write, status, timeout = map(int, words[6:11])
    # httpd may close a kept connection in the moment in which the next request is on its way: clients ask
    # again then, and wrk counts it as one that it could not read or write.
    closed = read + write
    if connect + status + timeout or closed > count / 500 or not received:
        raise Wrong(f"{contestant.name}, {workload.title}: of {count} requests {connect} did not "
                    f"connect, {read} could not be read, {write} not written, {timeout} timed out, "
                    f"{status} had an error status\n{contestant.log_tail()}")
    done = received / workload.length if workload.by_bytes else count
    return {"cpu": cpu / done * 1e6, "rate": done / (duration / 1e6), "p50": p50, "p99": p99,
            "switches": switched / done, "busy": cpu / took}
