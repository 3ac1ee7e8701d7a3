"""One process that runs a provider on requests in turn, again and again: what a core gives where no network is between.

With one owner its keys stay in the cache; with many they come from memory, as they do in a server of many clients.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from tacit.backends.ckks.provider import Provider


def main(bundle: str, folder: str, owners: str, threads: str, seconds: str) -> None:
    provider = Provider.from_bytes(Path(bundle).read_bytes(), threads=int(threads))
    messages = []
    for number in range(int(owners)):
        provider.load_keys((Path(folder) / f"keys-{number}").read_bytes())
        messages.append((Path(folder) / f"request-{number}").read_bytes())
    for message in (*messages, *messages[:5]):
        provider.run(message)
    print("ready", flush=True)
    sys.stdin.readline()
    done, cpu, start = 0, time.process_time(), time.monotonic()
    while time.monotonic() - start < float(seconds):
        provider.run(messages[done % len(messages)])
        done += 1
    wall = time.monotonic() - start
    print(json.dumps({"done": done, "seconds": wall, "cpu_seconds": time.process_time() - cpu}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
