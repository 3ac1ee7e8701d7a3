"""Encrypted prediction, Tacit and TenSEAL alternating in one run on the same model and sample.

`seconds` is the provider's time from request bytes to response bytes: reading, computing, writing. Every row checks the
answers of the same run: all labels as in the clear, and the largest error within the bound that was promised.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator

import forest
import numpy as np
from convolutional_models import Convolution, Dense, Layer, lenet, tutorial
from convolutional_models import scores as scores_of
from convolutional_models import to_onnx as convolutional_to_onnx
from dense_models import Array, Network, images, logistic_regression, mlp, to_onnx
from measurement import RESULTS, Row, Timing, alternate, machine, peak_rss_bytes, show
from tenseal_models import (
    Peer,
    tenseal_convolution,
    tenseal_logistic,
    tenseal_logistic_batch,
    tenseal_mlp,
    tenseal_version,
)

import tacit
from tacit._native import cpu_path

TASKS = ("lr-30", "lr-30-batch", "mlp-784-128-10", "mlp-784-128-10-relu", "cnn-tutorial", "lenet")
THREADS = 2
BATCH = 4096
LENET_ERROR = 5.0
"""Largest error asked for, of scores that range over some 100: lets the plan take small keys."""


def logistic_rows(*, quick: bool, peers: bool) -> Iterator[Row]:
    """One sample of 30 features; answers checked on all 569 samples."""
    model, x, scores = logistic_regression()
    private = tacit.protect(model, "ckks", calibration=x, threads=THREADS)
    yield from _rows(
        "lr-30",
        private,
        x,
        request_samples=x[:1],
        checked=len(x),
        budget_s=1.0 if quick else 5.0,
        peer=(lambda: tenseal_logistic(*_linear(x[0], scores))) if peers else None,
    )


def logistic_batch_rows(*, quick: bool, peers: bool) -> Iterator[Row]:
    """4,096 samples in one request; ``seconds`` is of the whole request."""
    model, x, scores = logistic_regression()
    many = np.resize(x, (BATCH, x.shape[1]))
    private = tacit.protect(model, "ckks", calibration=x, batch=BATCH, threads=THREADS)
    half = many[: BATCH // 2]
    yield from _rows(
        "lr-30-batch",
        private,
        many,
        request_samples=many,
        checked=len(many),
        budget_s=1.0 if quick else 5.0,
        peer=(lambda: tenseal_logistic_batch(half, *_linear_batch(half, scores))) if peers else None,
        peer_samples=len(half),
    )


def mlp_rows(*, quick: bool, peers: bool) -> Iterator[Row]:
    """One image through 784-128-10 with x²; answers checked on 500 test images."""
    network = mlp("square")
    yield from _mlp_rows(
        "mlp-784-128-10", network, checked=500, budget_s=3.0 if quick else 20.0, quick=quick, peers=peers
    )


def mlp_relu_rows(*, quick: bool, peers: bool) -> Iterator[Row]:
    """The same shape with ReLU, as trained: no tool of this kind among the peers runs it."""
    network = mlp("relu")
    yield from _mlp_rows(
        "mlp-784-128-10-relu",
        network,
        checked=20 if quick else 500,
        budget_s=2.0 if quick else 20.0,
        quick=quick,
        peers=False,
    )


def tutorial_rows(*, quick: bool, peers: bool) -> Iterator[Row]:
    """The network of TenSEAL's convolution tutorial; answers checked on 200 test images.

    TenSEAL gets a last layer divided by a power of two so that scores stay within ±4: more wraps around its last prime.
    """
    layers = tutorial()
    sample = images().test[0]

    def peer() -> Peer:
        convolution, first, last = (layer for layer in layers if isinstance(layer, Convolution | Dense))
        dense = [array.astype(np.float64) for layer in (first, last) for array in layer.parameters]
        unit = 2.0 ** np.ceil(np.log2(np.abs(scores_of(layers, images().test[:200])).max() / 4))
        return tenseal_convolution(
            sample.reshape(28, 28),
            convolution.weights[:, 0].astype(np.float64),
            convolution.bias.astype(np.float64),
            (dense[0], dense[1], dense[2] / unit, dense[3] / unit),
            3,
            scores_of(layers, sample[None])[0] / unit,
        )

    yield from _convolutional_rows(
        "cnn-tutorial", layers, None, checked=20 if quick else 200, quick=quick, peer=peer if peers else None
    )


def lenet_rows(*, quick: bool, peers: bool) -> Iterator[Row]:
    """A LeNet with x² and average pooling; answers checked on 200 test images."""
    yield from _convolutional_rows(
        "lenet", lenet(), LENET_ERROR, checked=10 if quick else 200, quick=quick, peer=None
    )


def _convolutional_rows(
    task: str,
    layers: list[Layer],
    max_error: float | None,
    *,
    checked: int,
    quick: bool,
    peer: Callable[[], Peer] | None,
) -> Iterator[Row]:
    data = images()
    shaped = data.test.reshape(-1, 1, 28, 28)
    private = tacit.protect(
        convolutional_to_onnx(layers, task),
        "ckks",
        calibration=data.train[:2000].reshape(-1, 1, 28, 28),
        max_error=max_error,
        threads=THREADS,
    )
    accuracy = float((scores_of(layers, data.test[:2000]).argmax(axis=1) == data.test_labels[:2000]).mean())
    yield from _rows(
        task,
        private,
        shaped,
        request_samples=shaped[:1],
        checked=checked,
        budget_s=3.0 if quick else 30.0,
        peer=peer,
        note=f"{data.source}, accuracy {accuracy:.4f}",
    )


def _mlp_rows(
    task: str, network: Network, *, checked: int, budget_s: float, quick: bool, peers: bool
) -> Iterator[Row]:
    data = images()
    private = tacit.protect(
        to_onnx(network), "ckks", calibration=data.train[: 2000 if quick else 10000], threads=THREADS
    )
    layers = (network.w1, network.b1, network.w2, network.b2)
    sample = data.test[0]
    yield from _rows(
        task,
        private,
        data.test,
        request_samples=data.test[:1],
        checked=checked,
        budget_s=budget_s,
        slow_peer=True,
        note=f"{data.source}, accuracy {_accuracy(network):.4f}",
        peer=(
            lambda: tenseal_mlp(
                sample, tuple(layer.astype(np.float64) for layer in layers), network.scores(sample[None])[0]
            )
        )
        if peers
        else None,
    )


def _rows(
    task: str,
    private: tacit.Private,
    x: Array,
    *,
    request_samples: Array,
    checked: int,
    budget_s: float,
    peer: Callable[[], Peer] | None,
    peer_samples: int = 1,
    slow_peer: bool = False,
    note: str = "",
) -> Iterator[Row]:
    """Tacit's row and the peer's, timed in turns."""
    owner, provider = private.owner, private.provider
    request = owner.encrypt(request_samples)
    version = tenseal_version()
    name = f"tenseal {version}" if version else "tenseal"
    other = peer() if peer and version else None
    calls: dict[str, Callable[[], object]] = {"tacit": lambda: provider.run(request)}
    if other:
        calls[name] = other.call
    times = _in_turns(calls, budget_s=budget_s) if slow_peer else alternate(calls, budget_s=budget_s, least=2)
    correct, error, differing = _check(private, x[:checked])
    samples = len(request_samples)
    plan = private.plan
    ratio = None
    if other:
        ratio = (times[name].median / peer_samples) / (times["tacit"].median / samples)
    details = plan.declaration.details
    told = [note] if note else []
    told += [
        f"{checked} samples, {differing} labels differ, promised {plan.error_bound:.2g}",
        f"{samples / times['tacit'].median:.4g} samples/s",
        f"best {times['tacit'].fastest * 1e3:.3g} ms",
        f"q {details['log_q']} p {details['log_p']}",
    ]
    yield Row(
        task=task,
        shape=f"2^{details['log_n']} batch {samples}",
        system="tacit",
        seconds=times["tacit"].median,
        n=times["tacit"].n,
        threads=THREADS,
        correct=correct,
        max_error=error,
        bytes_up=len(request),
        bytes_down=len(provider.run(request)),
        key_bytes=owner.key_bytes,
        rss_bytes=peak_rss_bytes(),
        ratio_to_peer=ratio,
        peer=name if other else None,
        note="; ".join(told),
    )
    if other:
        peer_error = other.check()
        yield Row(
            task=task,
            shape=f"batch {peer_samples}",
            system=name,
            seconds=times[name].median,
            n=times[name].n,
            threads=THREADS,
            correct=peer_error <= 0.05,
            max_error=peer_error,
            bytes_up=other.bytes_up,
            key_bytes=other.key_bytes,
        )
    elif peer:
        yield Row(
            task=task,
            shape="",
            system=name,
            note="absent: tenseal is not installed: pip install tenseal",
        )


def _in_turns(calls: dict[str, Callable[[], object]], *, budget_s: float) -> dict[str, Timing]:
    """As ``alternate``, for a peer of several seconds: no warm-up, and twenty turns of ours to one of it."""
    samples: dict[str, list[float]] = {name: [] for name in calls}
    first, *others = calls
    calls[first]()
    end = time.perf_counter() + budget_s
    while True:
        for name in [first] * (20 if others else 3) + others:
            start = time.perf_counter()
            calls[name]()
            samples[name].append(time.perf_counter() - start)
        if time.perf_counter() > end:
            break
    return {name: Timing(statistics.median(t), min(t), len(t)) for name, t in samples.items()}


def _check(private: tacit.Private, x: Array) -> tuple[bool, float, int]:
    """Whether labels agree and errors are within the promise; the largest error; how many labels differ."""
    found, clear = private.predict(x), private.clear(x)
    error = float(np.abs(np.asarray(found) - np.asarray(clear)).max())
    if found.labels is not None:
        differing = int((found.labels != clear.labels).sum())
    else:
        differing = int((np.argmax(found, axis=1) != np.argmax(clear, axis=1)).sum())
    return error <= private.plan.error_bound and differing == 0, error, differing


def _accuracy(network: Network) -> float:
    data = images()
    return float((network.scores(data.test).argmax(axis=1) == data.test_labels).mean())


def _coefficients(scores: Callable[[Array], Array], width: int) -> tuple[Array, float]:
    """Weights and bias of an affine function of raw features."""
    origin = float(scores(np.zeros((1, width)))[0])
    return scores(np.eye(width)) - origin, origin


def _linear(x: Array, scores: Callable[[Array], Array]) -> tuple[Array, Array, float, float]:
    """What TenSEAL gets: the standardised sample, which its precision needs, and matching weights."""
    weights, bias = _coefficients(scores, len(x))
    size = np.maximum(np.abs(x), 1e-9)
    return x / size, weights * size, bias, float(scores(x[None])[0])


def _linear_batch(x: Array, scores: Callable[[Array], Array]) -> tuple[Array, float, Array]:
    weights, bias = _coefficients(scores, x.shape[1])
    return weights, bias, scores(x)


def rows(tasks: list[str], *, quick: bool, peers: bool) -> Iterator[Row]:
    """Every row of the run."""
    makers = {
        "lr-30": logistic_rows,
        "lr-30-batch": logistic_batch_rows,
        "mlp-784-128-10": mlp_rows,
        "mlp-784-128-10-relu": mlp_relu_rows,
        "cnn-tutorial": tutorial_rows,
        "lenet": lenet_rows,
    }
    for task in tasks:
        if task in forest.TASKS:
            yield from forest.rows(task, quick=quick, threads=THREADS)
        else:
            yield from makers[task](quick=quick, peers=peers)


def main() -> int:
    """Exit status 1 when an answer of Tacit was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one object per line instead of a table")
    parser.add_argument("--quick", action="store_true", help="end within 50 s; correctness is still checked")
    parser.add_argument(
        "--task", choices=TASKS + forest.TASKS, action="append", help="only this task; may be repeated"
    )
    parser.add_argument(
        "--peers", action=argparse.BooleanOptionalAction, default=True, help="run the peers too"
    )
    parser.add_argument("--save", action="store_true", help="append the rows to benches/results/")
    options = parser.parse_args()
    facts = machine() | {"cpu_path": cpu_path(), "quick": options.quick}
    correct, lines = True, []
    tasks = options.task or list(TASKS if options.quick else TASKS + forest.TASKS)
    for row in rows(tasks, quick=options.quick, peers=options.peers):
        show(row, as_json=options.json)
        correct &= row.system != "tacit" or row.correct is not False
        lines.append(json.dumps(row.to_dict() | facts))
    if options.save:
        RESULTS.mkdir(exist_ok=True)
        with (RESULTS / "ckks_predict.jsonl").open("a") as file:
            file.write("\n".join(lines) + "\n")
    return int(not correct)


if __name__ == "__main__":
    raise SystemExit(main())
