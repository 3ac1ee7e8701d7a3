"""The files of `deploy/`: what can be checked without a cluster. Their own linters run where they are installed.

`helm` and `docker compose` are programs of their own; `kubernetes-validate` (a package) has the schemas of Kubernetes.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer.main

from tacit.cli.commands import app
from tests.rules.tree import ROOT

yaml = pytest.importorskip("yaml", reason="needs pyyaml")

DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "tacit"
TEMPLATES = sorted(path for path in CHART.rglob("templates/**/*") if path.is_file())
HELM = shutil.which("helm")
EVERYTHING = [
    "metrics.serviceMonitor=true",
    "podDisruptionBudget.enabled=true",
    "access.clientCaSecret=ca",
    "access.open=true",
    "replicas=2",
    "workers=3",
    "tracing.url=http://collector:4318/v1/traces",
    "keys.storageClass=fast",
]


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    return found


def values() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    return found


def template(*settings: str) -> list[dict[str, Any]]:
    """The rendered chart."""
    done = subprocess.run(
        [
            str(HELM),
            "template",
            "t",
            str(CHART),
            "--kube-version",
            "1.31.0",
            *(f"--set={text}" for text in settings),
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return [found for found in yaml.safe_load_all(done.stdout) if found]


def test_compose_gives_the_server_no_more_than_it_needs() -> None:
    server = compose()["services"]["tacit"]
    assert server["read_only"] is True
    assert server["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in server["security_opt"]
    assert {"mem_limit", "pids_limit", "healthcheck"} <= set(server)
    # The port of metrics is in the clear and stays inside.
    assert not [port for port in server["ports"] if "9090" in port]
    asked = {word.partition("=")[2] for word in server["command"] if "=/etc/tacit" in word}
    assert asked == {secret["target"] for secret in server["secrets"]}
    assert {secret["source"] for secret in server["secrets"]} == set(compose()["secrets"])


def test_compose_waits_longer_than_the_drain() -> None:
    server = compose()["services"]["tacit"]
    drain = next(int(word.partition("=")[2]) for word in server["command"] if word.startswith("--drain-s="))
    assert int(server["stop_grace_period"].rstrip("s")) > drain


def test_compose_is_what_docker_reads() -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True).returncode:
        pytest.skip("`docker compose` is not installed")
    done = subprocess.run(
        [docker, "compose", "-f", str(DEPLOY / "compose.yaml"), "--profile", "metrics", "config", "--quiet"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def test_images_are_pinned_and_the_user_is_not_root() -> None:
    text = (DEPLOY / "Containerfile").read_text(encoding="utf-8")
    images = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert len(images) == 2
    assert all(re.search(r":\d+\.\d+", image) for image in images)
    user = re.findall(r"^USER (\d+):(\d+)$", text, re.MULTILINE)
    assert user == [("10001", "10001")]
    assert text.index("USER ") < text.index("ENTRYPOINT")
    assert all(
        ":v" in service["image"] or ":0." in service["image"] for service in compose()["services"].values()
    )


def test_the_build_sees_what_it_copies_and_nothing_else() -> None:
    allowed = {
        line[1:]
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line[:1] == "!"
    }
    text = (DEPLOY / "Containerfile").read_text(encoding="utf-8")
    copied = {
        word
        for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE)
        for word in line.split()[:-1]
    }
    assert copied == allowed
    assert all((ROOT / name).exists() for name in allowed)


def paths(tree: object, prefix: str = "") -> set[str]:
    """Dotted paths of a tree of values, the inner ones too."""
    if not isinstance(tree, dict):
        return {prefix}
    found = {path for key, value in tree.items() for path in paths(value, f"{prefix}.{key}".lstrip("."))}
    return found | ({prefix} if prefix else set())


def test_templates_use_values_that_exist() -> None:
    used = {
        found
        for path in TEMPLATES
        for found in re.findall(r"\.Values\.([A-Za-z.]+)", path.read_text(encoding="utf-8"))
    }
    assert used <= paths(values())
    leaves = {
        path for path in paths(values()) if not any(other.startswith(f"{path}.") for other in paths(values()))
    }
    covered = {leaf for leaf in leaves if any(leaf == use or leaf.startswith(f"{use}.") for use in used)}
    assert leaves == covered, "a value that nothing reads"


def test_the_schema_knows_every_value() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))

    def known(part: dict[str, Any], tree: dict[str, Any], prefix: str) -> None:
        for key, value in tree.items():
            assert key in part["properties"], f"{prefix}{key}"
            inner = part["properties"][key]
            if isinstance(value, dict) and "properties" in inner:
                known(inner, value, f"{prefix}{key}.")

    assert schema["additionalProperties"] is False
    known(schema, values(), "")


def test_versions_are_those_of_the_package() -> None:
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert chart["appVersion"] == version[1]
    assert compose()["services"]["tacit"]["image"] == f"tacit:{version[1]}"


@pytest.mark.parametrize("name", ["compose.yaml", "helm/tacit/templates/statefulset.yaml"])
def test_every_option_is_one_of_tacit_serve(name: str) -> None:
    command = typer.main.get_command(app).commands["serve"]  # type: ignore[attr-defined]
    known = {option for parameter in command.params for option in parameter.opts}
    used = set(
        re.findall(r"^ *- (--[a-z-]+)(?==|$)", (DEPLOY / name).read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert {"--listen", "--cert", "--key", "--tokens", "--store", "--metrics-listen", "--drain-s"} <= used
    assert used - known <= {"--config.file"}


needs_helm = pytest.mark.skipif(HELM is None, reason="`helm` is not installed")


@needs_helm
def test_helm_lints() -> None:
    done = subprocess.run(
        [str(HELM), "lint", "--strict", str(CHART)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


@needs_helm
@pytest.mark.parametrize("settings", [[], EVERYTHING], ids=["plain", "everything"])
def test_what_helm_renders_is_valid(settings: list[str]) -> None:
    check = pytest.importorskip("kubernetes_validate", reason="needs kubernetes-validate")
    for found in template(*settings):
        if found["kind"] != "ServiceMonitor":  # of another project's schema
            for version in ("1.25", "1.31"):
                check.validate(found, version, strict=True)


@needs_helm
def test_pods_run_with_the_least_rights_and_with_probes() -> None:
    (server,) = [found for found in template() if found["kind"] == "StatefulSet"]
    pod = server["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    ports = {port["name"] for port in container["ports"]}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["port"] in ports
    assert {"requests", "limits"} <= set(container["resources"])
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    for word in container["args"]:
        target = word.partition("=")[2]
        if target.startswith("/"):
            assert target in mounts or str(Path(target).parent) in mounts, word
    drain = next(int(word.partition("=")[2]) for word in container["args"] if word.startswith("--drain-s="))
    assert pod["terminationGracePeriodSeconds"] > drain


@needs_helm
@pytest.mark.parametrize(
    "setting", ["access.tokensSecret=", "acess.open=true", "replicas=0", "protections={mpc}", "keys.size=20"]
)
def test_helm_refuses_what_is_wrong(setting: str) -> None:
    with pytest.raises(RuntimeError):
        template(setting)
