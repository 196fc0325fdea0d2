"""The verdict on a chaos run: which requests were hit by a fault, and which promise was broken.

A request is hit when the application had begun it in a worker that was killed, when its connection
was open while Apache's children were killed, or when its group's script was broken while it was
asked. Everything else must be answered.
"""

import re

import crashes

# The least part of the requests not hit that must be answered.
AVAILABILITY = 0.999
# What no run may leave in the error log, whatever was done to the server: a child of Apache that
# crashed, a panic, words of a sanitizer.
NEVER_LOGGED = re.compile(r"AH0005[12]|panick|:(emerg|alert|crit)\]|AddressSanitizer|stack smashing|double free")
# But what the faults did themselves: a killed supervisor is critical, a killed child is noted.
DONE_BY_US = re.compile(r"WSGI0384|AH0005[12]: child pid \d+ exit signal Killed \(9\)")


def hit_by(answer, begun, faults):
    """The fault that may have cost this answer, as text; empty when there is none."""
    pids = begun.get(answer.ask.name, [])
    for death in faults.deaths:
        if death.pid in pids and answer.start <= death.end and death.start <= answer.end:
            return f"begun in worker {death.pid}: {death.how}"
    for cut in faults.cuts:
        if answer.status in (0, 200) and answer.start <= cut.end and cut.start <= answer.end:
            return cut.how
    if answer.status in (500, 503):
        for outage in faults.outages:
            if outage.group == answer.ask.group and answer.start <= outage.end and outage.start <= answer.end:
                return f"broken script of {outage.group}"
    return ""


class Verdict:
    """`broken` names every promise that was not kept."""

    def __init__(self, visitors, faults, ledger, log_text, backtrace=lambda pid: None):
        begun = ledger.begun()
        faults.pids_of(begun)
        self.asked = visitors.asked
        self.hit, self.failed, self.stale, self.broken = {}, [], 0, []
        for answer in [*visitors.trouble, *faults.fatal]:
            if answer.wrong:
                self.broken.append(f"wrong: {answer.ask}: {answer.wrong}")
            elif answer.ask.manner == "fatal":
                continue
            elif answer.stale and answer.ask.name not in begun:
                self.stale += 1
            elif cause := hit_by(answer, begun, faults):
                self.hit[cause] = self.hit.get(cause, 0) + 1
            else:
                self.failed.append((answer, begun.get(answer.ask.name, [])))
        for name, pids in begun.items():
            if len(pids) > 1:
                self.broken.append(f"run {len(pids)} times: {name} in {pids}")
        for name, length in ledger.read().items():
            if name in visitors.aborted:
                self.broken.append(f"{name} was sent in part, and the application took {length} bytes for the whole")
        lines, self.crashes_of_httpd = log_text.splitlines(), 0
        for index, line in enumerate(lines):
            if not NEVER_LOGGED.search(line) or DONE_BY_US.search(line):
                continue
            missing = crashes.missing_evidence(lines, index, backtrace) if crashes.CRASH.search(line) else ""
            if missing is None:
                self.crashes_of_httpd += 1
            else:
                self.broken.append(f"logged: {line}{f' ({missing})' if missing else ''}")
        if self.availability < AVAILABILITY:
            self.broken.append(f"availability {100 * self.availability:.3f} %, not {100 * AVAILABILITY:g} %")

    @property
    def not_hit(self):
        return self.asked - sum(self.hit.values())

    @property
    def availability(self):
        return 1 - len(self.failed) / max(1, self.not_hit)

    def describe(self, since):
        """The verdict in lines; times are counted from `since`."""
        lines = [
            f"{self.asked} requests, {sum(self.hit.values())} hit by a fault, {self.stale} on connections closed meanwhile,"
            f" {len(self.failed)} failed without one: availability {100 * self.availability:.4f} %"
        ]
        lines += [f"  hit: {count} x {cause}" for cause, count in self.hit.items()]
        if self.crashes_of_httpd:
            lines.append(f"  {self.crashes_of_httpd} x httpd's own crash at a restart (tests/chaos/crashes.py)")
        for answer, pids in self.failed:
            lines.append(
                f"  failed: {answer.ask}: {answer.failed}; from {answer.start - since:.3f} to {answer.end - since:.3f} s;"
                f" begun in {pids or 'no worker'}"
            )
        return lines + [f"  BROKEN: {promise}" for promise in self.broken]
