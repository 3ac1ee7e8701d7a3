"""Every operator under every protection: as ONNX Runtime in the clear, within the promise encrypted, as documented."""

from __future__ import annotations

import runpy
import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from tacit.importers import import_onnx
from tacit.importers.onnx_ops import RULES
from tacit.ir import OPS, interpret
from tacit.roles.compilation import PROTECTIONS
from tests.conformance.operators import check, data_of, model_of, survey
from tests.conformance.probes import FOLDED, NAMES_ONLY, PROBES
from tests.conformance.promise import broken
from tests.conformance.shared import rehearsed

ROOT = Path(__file__).resolve().parents[2]
NAMES = [f"{probe.op} {probe.note}".strip() for probe in PROBES]
NEWER_THAN_THE_RUNTIME = 23


def test_every_operator_has_a_probe() -> None:
    probed = {probe.key for probe in PROBES}
    assert {key for key in RULES.keys() - probed if key[1] not in FOLDED | NAMES_ONLY} == set()
    assert probed <= RULES.keys()


@pytest.mark.parametrize("index", range(len(PROBES)), ids=NAMES)
def test_clear_is_as_the_runtime(index: int) -> None:
    probe = PROBES[index]
    proto = model_of(probe, at_end=probe.result == "float")
    x = data_of(probe)[:8]
    graph = import_onnx(proto)
    got = interpret(graph, x)[graph.outputs[0]]
    if probe.opset > NEWER_THAN_THE_RUNTIME:
        pytest.skip(
            "the runtime does not have this opset; the node tests of the onnx package check the operator"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    (want,) = session.run(None, {"x": x.astype(np.float32)})
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("index", range(len(PROBES)), ids=NAMES)
def test_encrypted_runs_keep_their_promise(index: int) -> None:
    finding = survey(index)
    ran = 0
    for at_end, way in ((False, finding.inside), (True, finding.at_end)):
        if way and (not at_end or way == "owner" or not finding.inside):
            outcome = check(index, at_end=at_end)
            assert outcome is not None and not broken(outcome), outcome
            ran += 1
    if not ran:
        assert finding.reason
        pytest.skip(f"refused: {finding.reason}")


@pytest.mark.parametrize("at_end", [False, True], ids=["between layers", "at the end"])
@pytest.mark.parametrize("index", range(len(PROBES)), ids=NAMES)
def test_rehearsals_on_shares_keep_their_promise(index: int, at_end: bool) -> None:
    found = rehearsed(index, at_end)
    if isinstance(found, str):
        pytest.skip(f"refused: {found}")
    assert 0 < found.bound < np.inf
    assert found.error <= found.bound


def test_the_page_is_current() -> None:
    module = runpy.run_path(str(ROOT / "scripts" / "operators_table.py"))
    current = (ROOT / "docs" / "reference" / "operators.md").read_text(encoding="utf-8")
    assert current == module["page"](), "run scripts/operators_table.py"


def test_every_protection_has_its_column() -> None:
    current = (ROOT / "docs" / "reference" / "operators.md").read_text(encoding="utf-8")
    headers = [line for line in current.splitlines() if line.startswith("| operator |")]
    assert len(headers) == 2
    for header in headers:
        assert all(f"`{protection}`" in header for protection in PROTECTIONS), header


def test_rules_become_ops_of_the_graph() -> None:
    for rule in RULES.values():
        words = rule.to.replace(",", " ").replace(" or ", " ").split()
        assert set(words) <= OPS.keys(), rule.op
