"""How much each process of a server holds: memory and descriptors, by what the process is.

Connections that are kept between requests are not counted: how many there are depends on how many
requests were under way at once, up to a bound that is tested by itself.
"""

from dataclasses import dataclass

import waiting


@dataclass
class Figures:
    """One process. Memory is private memory in bytes: what the process alone costs."""

    role: str
    pid: int
    resident: int
    private: int
    descriptors: int
    threads: int


def take(server, groups):
    """Figures of every process, in a steady order."""
    roles = [("parent", server.parent)]
    if server.supervisor:
        roles.append(("supervisor", server.supervisor))
    roles += [("child", child) for child in sorted(server.children(), key=lambda p: p.pid)]
    for group in groups:
        roles += [(f"worker {group}", worker) for worker in sorted(server.workers(group), key=lambda p: p.pid)]
    return [
        Figures(role, p.pid, p.resident_memory, p.private_memory, len(p.descriptors) - len(p.kept_connections), p.threads)
        for role, p in roles
    ]


def take_again(server, groups, before, within=5.0):
    """Figures to compare with `before`: requests whose clients have left may end first."""
    def settled():
        first, now = by_role(before), by_role(take(server, groups))
        return all(row.descriptors <= first[role].descriptors for role, row in now.items() if role in first)

    try:
        waiting.until(settled, within)
    except waiting.TooLate:
        pass  # The figures tell.
    return take(server, groups)


def by_role(figures):
    """Role -> the most that a process in it holds."""
    roles = {}
    for row in figures:
        most = roles.setdefault(row.role, Figures(row.role, 0, 0, 0, 0, 0))
        for key in ("resident", "private", "descriptors", "threads"):
            setattr(most, key, max(getattr(most, key), getattr(row, key)))
    return roles


def table(before, after):
    """Two takings side by side, as text."""
    mib = 1024 * 1024
    lines = [f"{'role':14} {'RSS MiB':>18} {'private MiB':>18} {'descriptors':>14} {'threads':>12}"]
    first, last = by_role(before), by_role(after)
    for role in dict.fromkeys([*first, *last]):
        a, b = first.get(role), last.get(role)
        if a is None or b is None:
            lines.append(f"{role:14} {'only before' if b is None else 'only after'}")
            continue
        lines.append(
            f"{role:14} {a.resident / mib:8.2f} → {b.resident / mib:7.2f} {a.private / mib:8.2f} → {b.private / mib:7.2f}"
            f" {a.descriptors:5} → {b.descriptors:6} {a.threads:4} → {b.threads:5}"
        )
    return "\n".join(lines)
