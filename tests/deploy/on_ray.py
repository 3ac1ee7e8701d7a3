"""A small Ray cluster with a deployment of ours, for the test that starts this file as a process of its own.

Prints a line of JSON when it serves; then a line for each that it reads: `kill N` ends shard N as a crash would, `run`
tries to start Serve a second time, `add` puts a second application beside the first. Ends Ray when its input ends.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any

from tacit.errors import InvalidParameterError
from tacit.service.ray_deployment import application, run
from tacit.service.server import Address, Options


def killed(number: int) -> dict[str, Any]:
    import ray

    found = [
        actor
        for actor in ray.util.list_named_actors(all_namespaces=True)
        if f"#shard-{number}#" in actor["name"]
    ]
    for actor in found:
        ray.kill(ray.get_actor(actor["name"], namespace=actor["namespace"]), no_restart=True)
    return {"killed": len(found)}


def refused(options: Options) -> dict[str, Any]:
    try:
        return {"address": run(options, shards=1)}
    except InvalidParameterError as error:
        return {"error": str(error)}


def added(options: Options, folder: Path) -> dict[str, Any]:
    from ray import serve

    other = dataclasses.replace(options, store=folder / "other")
    serve.run(application(other, shards=1, behind_tls=True), name="other", route_prefix="/other")
    return {"added": "/other"}


def main(models: Path, folder: Path, port: int) -> None:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray
    from ray import serve

    ray.init(
        num_cpus=4,
        object_store_memory=80 << 20,
        include_dashboard=False,
        log_to_driver=False,
        _temp_dir=str(folder / "ray"),
    )
    try:
        options = Options(
            models=(models,),
            version="0.1.0",
            listen=Address("127.0.0.1", port),
            tokens=folder / "tokens",
            store=folder / "store",
        )
        print(json.dumps({"address": run(options, shards=2)}), flush=True)
        for line in sys.stdin:
            match line.split():
                case ["kill", number]:
                    said = killed(int(number))
                case ["run"]:
                    said = refused(options)
                case _:
                    said = added(options, folder)
            print(json.dumps(said), flush=True)
    finally:
        serve.shutdown()
        ray.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
