"""Writes every known-answer vector of this directory; ``--check`` only says whether they are as they would
be written.

The answers come from the plain-integer model in tests/oracle, never from the code under test.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests")]

import comparisons  # noqa: E402
import failures  # noqa: E402
import frames  # noqa: E402
import operations  # noqa: E402
import shares  # noqa: E402

_SOURCE = {
    "ok": "ia.cr/2016/421, ia.cr/2018/931 and ia.cr/2019/688 in plain integers (tests/oracle)",
    "refused": "a good object of tests/oracle with one thing wrong",
}


def files() -> Iterator[tuple[str, str]]:
    """(file name, contents) of every vector."""
    for module, source in ((operations, "ok"), (failures, "refused")):
        for name, vector in module.vectors():
            head = {"source": _SOURCE[source], "generated_by": f"vectors/{module.__name__}.py"}
            yield f"{name}.json", json.dumps({**head, **vector}, indent=1) + "\n"
    head = {"source": "RFC 5869 and RFC 2104, by another library", "generated_by": "vectors/frames.py"}
    for name, vector in frames.vectors():
        yield f"frames/{name}.json", json.dumps({**head, **vector}, indent=1) + "\n"
    head = {"source": "FIPS 197 by another library, and integers", "generated_by": "vectors/shares.py"}
    for name, vector in shares.vectors():
        yield f"shares/{name}.json", json.dumps({**head, **vector}, indent=1) + "\n"
    head["generated_by"] = "vectors/comparisons.py"
    for name, vector in comparisons.vectors():
        yield f"shares/{name}.json", json.dumps({**head, **vector}, indent=1) + "\n"


def main() -> int:
    """Write or check; the exit status is 1 when a file differs."""
    expected = dict(files())
    present = {path.relative_to(HERE).as_posix(): path.read_text() for path in HERE.rglob("*.json")}
    if "--check" in sys.argv[1:]:
        wrong = sorted(name for name in expected | present if expected.get(name) != present.get(name))
        print("\n".join(wrong) if wrong else f"{len(expected)} vectors are as generated")
        return int(bool(wrong))
    for name in present.keys() - expected.keys():
        (HERE / name).unlink()
    for name, text in expected.items():
        (HERE / name).write_text(text)
    print(f"{len(expected)} vectors written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
