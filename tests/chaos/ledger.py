"""What the application wrote down about the requests it ran; see application.wsgi."""

from collections import defaultdict
from pathlib import Path


class Ledger:
    """A directory with one file per worker process, named by its pid."""

    def __init__(self, directory):
        self.directory = Path(directory)
        self.directory.mkdir()
        self.directory.chmod(0o1777)

    def _rows(self, kind):
        for file in self.directory.iterdir():
            # A killed process leaves no half line: each is one write.
            for line in file.read_text().splitlines():
                words = line.split()
                if words[0] == kind:
                    yield words[1], int(file.name), words[2:]

    def begun(self):
        """Name of a request -> pids of the workers that began it, one entry for every time."""
        found = defaultdict(list)
        for name, pid, _ in self._rows("begun"):
            found[name].append(pid)
        return found

    def read(self):
        """Name -> length of the request body that the application took for a whole one."""
        return {name: int(rest[0]) for name, _, rest in self._rows("read")}
