"""The provider in a process of its own: reads a bundle and keys, answers requests, tells times and memory."""

from __future__ import annotations

import time
from pathlib import Path

from partner import Answer, peak_rss_bytes, repeat, serve

from tacit.backends.ckks.memory import return_freed_memory
from tacit.backends.ckks.provider import Provider


class Desk:
    """One provider with its requests; a file stands for a message."""

    def __init__(self) -> None:
        self.provider: Provider | None = None
        self.requests: dict[str, bytes] = {}

    def _ready(self) -> Provider:
        if self.provider is None:
            raise ValueError("`prepare` comes first")
        return self.provider

    def prepare(self, *, bundle: str, keys: str, threads: int) -> Answer:
        """Encodes the model and takes an owner's keys."""
        start = time.perf_counter()
        self.provider = Provider.from_bytes(Path(bundle).read_bytes(), threads=threads)
        self.provider.load_keys(Path(keys).read_bytes())
        return {"seconds": time.perf_counter() - start}

    def run(self, *, request: str, repeats: int) -> Answer:
        """From request bytes to response bytes, again and again."""
        provider = self._ready()
        if request not in self.requests:
            self.requests[request] = Path(request).read_bytes()
        message = self.requests[request]
        return repeat(lambda: provider.run(message), repeats)

    def answer(self, *, request: str, response: str) -> Answer:
        """One request, whose response is kept."""
        Path(response).write_bytes(self._ready().run(Path(request).read_bytes()))
        return {}

    def memory(self) -> Answer:
        """Peak of the whole life of this process."""
        return {"rss_bytes": peak_rss_bytes()}


if __name__ == "__main__":
    return_freed_memory()
    desk = Desk()
    raise SystemExit(
        serve({"prepare": desk.prepare, "run": desk.run, "answer": desk.answer, "memory": desk.memory})
    )
