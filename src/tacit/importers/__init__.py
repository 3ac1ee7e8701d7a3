"""From models as people have them to graphs. Libraries that read models are imported when one is read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tacit.errors import ModelError
from tacit.ir.graph import Graph

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["import_onnx", "import_sklearn", "load"]


def load(model: object) -> Graph:
    """The graph of an ONNX file (path, bytes or loaded), of a fitted estimator or pipeline, or of a graph.

    Raises ``ModelError`` with a hint for everything else, for unfitted estimators and for damaged files, and
    ``UnsupportedOpError`` where the model uses an operator that has no rule.
    """
    match model:
        case Graph():
            return model
        case str() | Path():
            path = Path(model)
            if path.suffix.lower() in (".pkl", ".pickle", ".joblib"):
                raise ModelError(
                    f"`{path.name}` is a pickle, which runs code when it is opened",
                    hint="open it where you trust it and give the fitted estimator, or export it to ONNX",
                )
            return import_onnx(path, name=path.stem)
        case bytes() | bytearray() | memoryview():
            return import_onnx(bytes(model))
        case tuple() | list():
            raise ModelError(
                "a module with an example input is not read",
                hint="export it: `torch.onnx.export(module, ...)`",
            )
    kind = type(model)
    if kind.__name__ == "ModelProto" and kind.__module__.startswith("onnx"):
        return import_onnx(model)
    if any(base.__module__.startswith("torch.") for base in kind.__mro__):
        raise ModelError("torch modules are not read", hint="export it: `torch.onnx.export(module, ...)`")
    if hasattr(model, "fit") and hasattr(model, "get_params"):
        return import_sklearn(model)
    raise ModelError(
        f"a model is an .onnx file, its bytes, or a fitted scikit-learn estimator. Got {kind.__name__}.",
        hint="export the model to ONNX",
    )


def import_onnx(source: str | Path | bytes | ModelProto, *, name: str = "") -> Graph:
    """The graph of an ONNX model: see ``tacit.importers.onnx.import_onnx``."""
    from tacit.importers.onnx import import_onnx as run

    return run(source, name=name)


def import_sklearn(estimator: Any, n_features: int | None = None) -> Graph:
    """The graph of a fitted estimator or pipeline: see ``tacit.importers.sklearn.import_sklearn``."""
    from tacit.importers.sklearn import import_sklearn as run

    return run(estimator, n_features=n_features)
