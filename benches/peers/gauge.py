"""The most anonymous memory that this process holds. Linux only."""

import threading
from pathlib import Path


def anonymous_bytes():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/self/status has no RssAnon")


class Peak:
    """The most anonymous memory while it is open."""

    def __enter__(self):
        self.bytes, self.done = anonymous_bytes(), threading.Event()
        self.thread = threading.Thread(target=self.sample)
        self.thread.start()
        return self

    def sample(self):
        while not self.done.wait(0.001):
            self.bytes = max(self.bytes, anonymous_bytes())

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()
        self.bytes = max(self.bytes, anonymous_bytes())
