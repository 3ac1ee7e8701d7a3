"""The commands end to end: what they print, what they write, and how they end when something is wrong."""

from __future__ import annotations

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tacit import errors
from tacit.cli.main import explanation, status_of
from tests.cli.conftest import FEATURES, Ended, Tacit
from tests.patience import PATIENCE_S, until

USAGE, PLAN, PEER, INTERNAL = 2, 3, 4, 70


def assert_two_lines(ended: Ended, status: int) -> None:
    """An error is one line, perhaps with reasons, and a hint; nothing else, and never a traceback."""
    assert ended.status == status, ended
    assert ended.out == ""
    assert re.fullmatch(r"error: [^\n]+\n(  [^\n]+\n)*(hint: [^\n]+\n)?", ended.err), ended.err
    assert "Traceback" not in ended.err


def test_help_lists_the_commands(spawn: Tacit, run: Tacit) -> None:
    for words in ((), ("--help",), ("-h",)):
        ended = spawn(*words)
        assert ended.status == 0
        assert all(name in ended.out for name in ("explain", "predict", "simulate", "demo", "about"))
    assert "--calibration" in run("predict", "--help").out


def test_about_tells_the_facts(run: Tacit) -> None:
    facts = json.loads(run("about", "--json").out)
    assert facts["version"] == "0.1.0"
    assert facts["cpu_path"] in facts["cpu_paths"]
    assert "2024/463" in facts["security"]["source"]
    assert facts["security"]["max_log_qp"]["14"] == 430
    assert facts["maturity"]["protection ckks"]["level"] == "preview"
    text = run("about").out
    assert "2^14: 430" in text
    assert "\x1b" not in text


def test_the_portable_path_can_be_chosen(spawn: Tacit) -> None:
    assert json.loads(spawn("about", "--json", TACIT_CPU="portable").out)["cpu_path"] == "portable"
    assert_two_lines(spawn("about", TACIT_CPU="abacus"), USAGE)


def test_explain_prints_the_price_list(run: Tacit) -> None:
    words = ("explain", "model.onnx", "--calibration", "known.csv")
    text = run(*words).out
    assert "clear" in text
    assert "ckks" in text
    listed = json.loads(run(*words, "--json").out)
    assert {plan["protection"] for plan in listed["plans"]} == {"clear", "ckks", "mpc"}
    assert listed["refusals"] == []
    assert run("explain", "model.onnx").status == 0


def test_predict_agrees_with_clear(run: Tacit, files: pathlib.Path, tmp_path: pathlib.Path) -> None:
    words = ("predict", "model.onnx", "new.csv", "--calibration", "known.csv")
    private = json.loads(run(*words, "--json").out)
    clear = json.loads(run(*words, "--protection", "clear", "--json").out)
    assert private["columns"] == ["probabilities_ill", "probabilities_well"]
    assert private["labels"] == clear["labels"]
    difference = np.abs(np.array(private["answers"]) - np.array(clear["answers"])).max()
    assert 0 < difference <= private["report"]["error_bound"]
    assert private["report"]["key_bytes"] > 0
    out = tmp_path / "answers.csv"
    ended = run(*words, "-o", str(out))
    assert ended.status == 0
    assert out.read_text().splitlines()[0] == "label,probabilities_ill,probabilities_well"
    assert len(out.read_text().splitlines()) == 13
    assert "wrote 12 answers" in ended.out


def test_simulate_compares_with_clear(run: Tacit) -> None:
    words = ("simulate", "model.onnx", "new.csv", "--calibration", "known.csv")
    told = json.loads(run(*words, "--json").out)
    assert told["rows"] == told["labels_equal_to_clear"] == 12
    assert told["report"]["simulated"] is True
    assert (
        0 < told["mean_error"] <= told["report"]["max_error_against_clear"] <= told["report"]["error_bound"]
    )
    assert "12 of 12 labels" in run(*words).out


def test_predict_can_simulate_and_mark_rows(run: Tacit, tmp_path: pathlib.Path) -> None:
    words = ("predict", "model.onnx", "new.csv", "--calibration", "known.csv")
    told = json.loads(run(*words, "--simulate", "--json").out)
    assert told["report"]["simulated"] is True and told["report"]["key_bytes"] == 0
    assert "nothing was encrypted" in run(*words, "--simulate").out
    out = tmp_path / "answers.csv"
    assert run(*words, "--simulate", "--no-strict", "-o", str(out)).status == 0
    assert out.read_text().splitlines()[0].endswith(",within_bound")
    assert out.read_text().splitlines()[1].endswith(",True")


def test_predict_takes_a_batch(run: Tacit) -> None:
    words = ("predict", "model.onnx", "new.csv", "--calibration", "known.csv", "--json")
    one, many = (json.loads(run(*words, "--batch", batch).out)["report"] for batch in ("1", "5000"))
    assert one["plan_id"] != many["plan_id"]
    assert one["bytes_up"] != many["bytes_up"]


def test_predict_shows_a_table(run: Tacit) -> None:
    ended = run("predict", "model.onnx", "new.csv")
    assert ended.status == 0
    assert ended.err == ""
    assert "\x1b" not in ended.out
    assert "probabilities_ill" in ended.out
    assert "taken from this data" in ended.out


BAD_COMMANDS = {
    "no command": ("fly",),
    "no option": ("about", "--colour"),
    "no argument": ("predict", "model.onnx"),
    "bad number": ("explain", "model.onnx", "--batch", "many"),
    "bad choice": ("predict", "model.onnx", "new.csv", "--protection", "hope"),
    "no story": ("demo", "hotel"),
    "batch of none": ("explain", "model.onnx", "--calibration", "known.csv", "--batch", "0"),
    "error bound below zero": ("explain", "model.onnx", "--calibration", "known.csv", "--max-error", "-1"),
    "no model": ("explain", "absent.onnx"),
    "model is a folder": ("explain", "."),
    "model is a table": ("explain", "new.csv"),
    "no data": ("predict", "model.onnx", "absent.csv"),
    "data is a folder": ("predict", "model.onnx", "."),
    "data is a model": ("predict", "model.onnx", "model.onnx"),
    "data and model swapped": ("predict", "new.csv", "model.onnx"),
    "simulation of nothing": ("predict", "model.onnx", "new.csv", "--protection", "clear", "--simulate"),
    "bad batch": ("predict", "model.onnx", "new.csv", "--batch", "0"),
    "no folder for the output": ("predict", "model.onnx", "new.csv", "-o", "absent/out.csv"),
    "unknown output": ("predict", "model.onnx", "new.csv", "-o", "out.doc"),
    "output is a folder": ("predict", "model.onnx", "new.csv", "-o", "."),
    "unwritable output": ("predict", "model.onnx", "new.csv", "-o", "/proc/out.csv"),
}


def test_columns_in_another_order_are_refused(
    run: Tacit, files: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    shuffled = tmp_path / "shuffled.csv"
    shuffled.write_text((files / "new.csv").read_text().replace("age,dose", "dose,age"))
    ended = run("predict", "model.onnx", str(shuffled), "--calibration", "known.csv")
    assert_two_lines(ended, USAGE)
    assert "`dose`" in ended.err


@pytest.mark.parametrize("words", BAD_COMMANDS.values(), ids=BAD_COMMANDS)
def test_a_wrong_command_is_two_lines(run: Tacit, words: tuple[str, ...]) -> None:
    assert_two_lines(run(*words), USAGE)


BAD_TABLES = {
    "nan": "1,2,3,4\n1,nan,3,4\n",
    "text": "1,2,3,4\n1,two,3,4\n",
    "missing": "1,2,3,4\n1,,3,4\n",
    "ragged": "1,2,3,4\n1,2,3\n",
    "narrow": "1,2,3\n4,5,6\n",
    "wide": "1,2,3,4,5\n1,2,3,4,5\n",
    "empty": "",
    "header only": "a,b,c,d\n",
    "outside": "0.1,0.1,0.1,0.1\n0.1,0.1,0.1,31337000\n",
}


@pytest.mark.parametrize("table", BAD_TABLES.values(), ids=BAD_TABLES)
def test_bad_data_is_two_lines(run: Tacit, tmp_path: pathlib.Path, table: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(table)
    ended = run("predict", "model.onnx", str(path), "--calibration", "known.csv")
    assert_two_lines(ended, USAGE)
    assert "31337" not in ended.err
    if "31337" not in table:
        assert_two_lines(run("explain", "model.onnx", "--calibration", str(path)), USAGE)


def save(path: pathlib.Path, nodes: list[onnx.NodeProto], *, opset: int = 21, domain: str = "") -> None:
    """An ONNX file with one float input (batch, FEATURES) and the output y."""
    graph = helper.make_graph(
        nodes,
        "bad",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, FEATURES])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    imports = [helper.make_opsetid("", opset)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    path.write_bytes(helper.make_model(graph, opset_imports=imports).SerializeToString())


def test_an_unsupported_op_is_named(run: Tacit, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "bad.onnx"
    save(path, [helper.make_node("Det", ["x"], ["y"], name="the_determinant")])
    ended = run("explain", str(path))
    assert_two_lines(ended, USAGE)
    assert "the_determinant" in ended.err
    assert "Det" in ended.err
    assert "hint:" in ended.err


def test_a_custom_op_is_named(run: Tacit, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "bad.onnx"
    save(path, [helper.make_node("Magic", ["x"], ["y"], name="wand", domain="acme")], domain="acme")
    ended = run("explain", str(path))
    assert_two_lines(ended, USAGE)
    assert "acme" in ended.err


@pytest.mark.parametrize("cut", [0, 1, 10, 100, -1])
def test_a_truncated_model_is_two_lines(
    run: Tacit, files: pathlib.Path, tmp_path: pathlib.Path, cut: int
) -> None:
    path = tmp_path / "cut.onnx"
    path.write_bytes((files / "model.onnx").read_bytes()[:cut])
    assert_two_lines(run("explain", str(path)), USAGE)


def test_an_impossible_wish_is_a_plan_error(run: Tacit) -> None:
    ended = run("predict", "model.onnx", "new.csv", "--max-error", "1e-30")
    assert_two_lines(ended, PLAN)
    assert "hint:" in ended.err


def test_an_unreadable_file_is_two_lines(run: Tacit, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "locked.csv"
    path.write_text("1,2,3,4\n")
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user reads everything")
    assert_two_lines(run("predict", "model.onnx", str(path)), USAGE)


@pytest.mark.skipif(not pathlib.Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_two_lines(spawn: Tacit) -> None:
    with open("/dev/full", "w") as full:
        ended = spawn("about", stdout=full.fileno())
    assert_two_lines(ended, USAGE)
    assert "space" in ended.err


def test_a_reader_that_goes_away_ends_the_command_quietly(files: pathlib.Path) -> None:
    command = [sys.executable, "-m", "tacit", "about"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=files) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 141


@pytest.mark.parametrize("delay_s", [0.0, 0.7])
def test_an_interrupt_is_one_line(delay_s: float) -> None:
    """Sent as soon as the story has its second process, and a little later."""
    command = [sys.executable, "-m", "tacit", "demo", "hospital"]

    def heed_interrupts() -> None:
        # Background jobs of a shell start with SIGINT ignored, and their children inherit it.
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_interrupts,
    ) as process:
        children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children")
        until(children.read_text)
        time.sleep(delay_s)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE_S)
    if process.returncode == 0:
        pytest.skip("the story was over before the interrupt")
    # A shell shows both as 130: Python ends by the signal itself when C code ran Python code while it arrived.
    assert process.returncode in (130, -signal.SIGINT)
    assert (out, err) == ("", "error: interrupted\n")


def test_a_bug_shows_its_place_and_not_its_message() -> None:
    try:
        raise ZeroDivisionError("8675309")
    except ZeroDivisionError as error:
        message, hint = explanation(error)
        assert status_of(error) == INTERNAL
    assert "ZeroDivisionError at test_commands.py" in message
    assert "8675309" not in message + hint
    assert "TACIT_DEBUG" in hint


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.DataRangeError("x"), USAGE),
        (errors.DepthError("x"), PLAN),
        (errors.MalformedMessageError("x"), PEER),
        (errors.InternalError("x"), INTERNAL),
        (FileNotFoundError(2, "No such file or directory", "x"), USAGE),
        (MemoryError(), INTERNAL),
    ],
)
def test_the_status_tells_the_class(error: Exception, status: int) -> None:
    assert status_of(error) == status
    assert explanation(error)[0]


def test_reasons_are_listed() -> None:
    error = errors.NoAdmissiblePlanError("no protection runs this", reasons=("ckks: too deep", "mpc: absent"))
    assert explanation(error)[0] == "no protection runs this\n  ckks: too deep\n  mpc: absent"


def test_the_version_is_told(run: Tacit) -> None:
    assert run("--version").out == "tacit 0.1.0\n"


def test_about_measures_the_machine_when_asked(
    run: Tacit, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tacit.backends.ckks import calibration

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    before = json.loads(run("about", "--json").out)["predictions"]
    assert "was not measured" in before["note"]
    few = calibration.POINTS[:1]
    whole = calibration.measure
    monkeypatch.setattr(calibration, "measure", lambda **options: whole(points=few, **options))
    monkeypatch.setattr("tacit.roles.machine.JOB_S", 0.0)
    after = json.loads(run("about", "--calibrate", "--json").out)["predictions"]
    assert after["note"] == ""
    assert after["machine"].startswith(calibration.cpu_name())
    assert pathlib.Path(after["file"]).is_relative_to(tmp_path)
    assert after["parties"]["note"] == ""
    assert set(after["parties"]["measured"]["rates"]) == {"replicated3", "dealer2"}
    assert "measured 2" in run("about").out
    assert "was not measured" not in run("explain", "model.onnx", "--calibration", "known.csv").out
