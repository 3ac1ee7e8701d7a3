"""Fitted scikit-learn models on the data sets that scikit-learn ships: what the importer tests compare with."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn import datasets
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA, IncrementalPCA, TruncatedSVD
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.feature_selection import SelectKBest, VarianceThreshold
from sklearn.impute import SimpleImputer
from sklearn.linear_model import (
    BayesianRidge,
    ElasticNet,
    HuberRegressor,
    Lasso,
    LinearRegression,
    LogisticRegression,
    LogisticRegressionCV,
    PoissonRegressor,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
)
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    Binarizer,
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    PolynomialFeatures,
    PowerTransformer,
    RobustScaler,
    StandardScaler,
)
from sklearn.svm import SVC, SVR, LinearSVC, LinearSVR, NuSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeClassifier

__all__ = ["DATA", "FITTED", "fit"]


def _load(name: str) -> tuple[Any, Any]:
    return getattr(datasets, f"load_{name}")(return_X_y=True)  # type: ignore[no-any-return]


_CANCER, _IRIS, _WINE, _DIABETES = (_load(name) for name in ("breast_cancer", "iris", "wine", "diabetes"))
_NAMES = np.array(["setosa", "versicolor", "virginica"])

DATA: dict[str, tuple[Any, Any]] = {
    "cancer": _CANCER,
    "iris": _IRIS,
    "iris-names": (_IRIS[0], _NAMES[_IRIS[1]]),
    "cancer-floats": (_CANCER[0], _CANCER[1].astype(np.float64)),
    "wine": _WINE,
    "diabetes": _DIABETES,
    "diabetes-two": (_DIABETES[0], np.c_[_DIABETES[1], _DIABETES[1] ** 2 / 100.0]),
    "digits": tuple(part[:600] for part in _load("digits")),
}


def _scaled(*steps: Any) -> Any:
    return make_pipeline(StandardScaler(), *steps)


def _mlp(hidden: tuple[int, ...], activation: str) -> MLPClassifier:
    return MLPClassifier(hidden, activation=activation, max_iter=30, random_state=0)


FITTED: dict[str, tuple[str, Callable[[], Any]]] = {
    "linear regression": ("diabetes", LinearRegression),
    "linear regression, two targets": ("diabetes-two", LinearRegression),
    "ridge": ("diabetes", Ridge),
    "lasso": ("diabetes", lambda: Lasso(0.5)),
    "elastic net": ("diabetes", lambda: ElasticNet(0.1)),
    "bayesian ridge": ("diabetes", BayesianRidge),
    "huber": ("diabetes", lambda: _scaled(HuberRegressor(max_iter=500))),
    "poisson": ("diabetes", lambda: _scaled(PoissonRegressor())),
    "linear svr": ("diabetes", lambda: _scaled(LinearSVR(random_state=0))),
    "svr": ("diabetes", lambda: _scaled(SVR(kernel="linear"))),
    "logistic, two classes": ("cancer", lambda: _scaled(LogisticRegression())),
    "logistic, float classes": ("cancer-floats", lambda: _scaled(LogisticRegression())),
    "logistic, softmax": ("wine", lambda: _scaled(LogisticRegression())),
    "logistic, named classes": ("iris-names", lambda: _scaled(LogisticRegression())),
    "logistic, digits": ("digits", lambda: make_pipeline(MinMaxScaler(), LogisticRegression(max_iter=300))),
    "logistic, liblinear": ("cancer", lambda: _scaled(LogisticRegression(solver="liblinear"))),
    "logistic, cross-validated": ("iris", lambda: _scaled(LogisticRegressionCV(Cs=2, cv=2))),
    "logistic, one against rest": ("iris", lambda: _scaled(OneVsRestClassifier(LogisticRegression()))),
    "svm, one against rest": ("iris", lambda: _scaled(OneVsRestClassifier(LinearSVC()))),
    "linear svm, two classes": ("cancer", lambda: _scaled(LinearSVC())),
    "linear svm, three classes": ("wine", lambda: _scaled(LinearSVC())),
    "svr, rbf": ("diabetes", lambda: _scaled(SVR(C=50.0))),
    "svr, poly": ("diabetes", lambda: _scaled(SVR(kernel="poly", degree=2, coef0=1.0))),
    "svc, rbf": ("cancer", lambda: _scaled(SVC())),
    "svc, sigmoid": ("cancer", lambda: _scaled(SVC(kernel="sigmoid", coef0=0.1))),
    "svc, linear kernel, three classes": (
        "wine",
        lambda: _scaled(SVC(kernel="linear", decision_function_shape="ovo")),
    ),
    "svc, poly, named classes": (
        "iris-names",
        lambda: _scaled(SVC(kernel="poly", coef0=1.0, decision_function_shape="ovo")),
    ),
    "svc, nu, three classes": ("iris", lambda: _scaled(NuSVC(nu=0.3, decision_function_shape="ovo"))),
    "svc, linear kernel": ("cancer", lambda: _scaled(SVC(kernel="linear"))),
    "ridge classifier": ("wine", lambda: _scaled(RidgeClassifier())),
    "sgd, logistic loss": ("wine", lambda: _scaled(SGDClassifier(loss="log_loss", random_state=0))),
    "sgd, hinge loss": ("cancer", lambda: _scaled(SGDClassifier(random_state=0))),
    "lda, two classes": ("cancer", LinearDiscriminantAnalysis),
    "lda, three classes": ("wine", LinearDiscriminantAnalysis),
    "lda as a step": ("wine", lambda: make_pipeline(LinearDiscriminantAnalysis(), LogisticRegression())),
    "naive bayes": ("iris", GaussianNB),
    "naive bayes, scaled": ("cancer", lambda: _scaled(GaussianNB())),
    "qda": ("wine", QuadraticDiscriminantAnalysis),
    "qda, two classes": ("cancer", lambda: _scaled(PCA(6), QuadraticDiscriminantAnalysis())),
    "pca": ("wine", lambda: _scaled(PCA(3))),
    "pca, whitened": ("wine", lambda: _scaled(PCA(3, whiten=True))),
    "incremental pca": ("iris", lambda: IncrementalPCA(2)),
    "truncated svd": ("iris", lambda: TruncatedSVD(2, random_state=0)),
    "pca, logistic": ("digits", lambda: make_pipeline(PCA(16), LogisticRegression(max_iter=400))),
    "standard scaler": ("cancer", StandardScaler),
    "min-max scaler": ("cancer", lambda: MinMaxScaler((-1, 1), clip=True)),
    "robust scaler": ("cancer", RobustScaler),
    "max-abs scaler": ("cancer", MaxAbsScaler),
    "normalizer l1": ("iris", lambda: Normalizer("l1")),
    "normalizer l2": ("iris", lambda: Normalizer("l2")),
    "normalizer max": ("diabetes", lambda: Normalizer("max")),
    "power transformer": ("diabetes", PowerTransformer),
    "box-cox": ("iris", lambda: PowerTransformer("box-cox")),
    "bins": ("wine", lambda: KBinsDiscretizer(4, encode="onehot-dense", quantile_method="linear")),
    "binarizer": ("iris", lambda: Binarizer(threshold=1.5)),
    "imputer of a value": ("iris", lambda: SimpleImputer(missing_values=0.2)),
    "one-hot encoder": ("digits", lambda: OneHotEncoder(sparse_output=False)),
    "polynomial features": ("iris", lambda: make_pipeline(PolynomialFeatures(3), Ridge())),
    "logarithm": ("wine", lambda: make_pipeline(FunctionTransformer(np.log1p), LinearRegression())),
    "selection": ("cancer", lambda: make_pipeline(VarianceThreshold(), SelectKBest(k=7), LinearSVC())),
    "union": ("wine", lambda: FeatureUnion([("a", PCA(2)), ("b", StandardScaler())])),
    "columns": (
        "iris",
        lambda: make_pipeline(
            ColumnTransformer([("a", StandardScaler(), [2, 0]), ("b", "passthrough", slice(3, 4))]),
            LogisticRegression(),
        ),
    ),
    "grid search": ("iris", lambda: GridSearchCV(_scaled(LogisticRegression()), {}, cv=2)),
    "tree": ("cancer", lambda: DecisionTreeClassifier(random_state=0)),
    "tree of one node": (
        "cancer",
        lambda: DecisionTreeClassifier(min_samples_split=1.0, max_depth=1, random_state=0),
    ),
    "tree, named classes": ("iris-names", lambda: ExtraTreeClassifier(random_state=0)),
    "tree, digits": ("digits", lambda: DecisionTreeClassifier(random_state=0)),
    "tree regressor": ("diabetes", lambda: DecisionTreeRegressor(random_state=0)),
    "forest": ("cancer", lambda: RandomForestClassifier(20, random_state=0)),
    "forest, digits": ("digits", lambda: RandomForestClassifier(20, max_depth=7, random_state=0)),
    "forest, scaled": ("wine", lambda: _scaled(PCA(4), RandomForestClassifier(10, random_state=0))),
    "extra trees": ("wine", lambda: ExtraTreesClassifier(20, random_state=0)),
    "forest regressor": ("diabetes", lambda: RandomForestRegressor(20, random_state=0)),
    "forest regressor, two targets": ("diabetes-two", lambda: RandomForestRegressor(5, random_state=0)),
    "boosting": ("cancer", lambda: GradientBoostingClassifier(random_state=0)),
    "boosting, three classes": ("wine", lambda: GradientBoostingClassifier(n_estimators=20, random_state=0)),
    "boosting, exponential": (
        "cancer",
        lambda: GradientBoostingClassifier(loss="exponential", random_state=0),
    ),
    "boosting from zero": ("cancer", lambda: GradientBoostingClassifier(init="zero", random_state=0)),
    "boosting regressor": ("diabetes", lambda: GradientBoostingRegressor(random_state=0)),
    "boosting, huber": ("diabetes", lambda: GradientBoostingRegressor(loss="huber", random_state=0)),
    "histogram boosting": ("cancer", lambda: HistGradientBoostingClassifier(max_iter=5, random_state=0)),
    "histogram boosting, three classes": (
        "wine",
        lambda: HistGradientBoostingClassifier(max_iter=5, random_state=0),
    ),
    "histogram boosting regressor": (
        "diabetes",
        lambda: HistGradientBoostingRegressor(max_iter=5, random_state=0),
    ),
    "histogram boosting, poisson": (
        "diabetes",
        lambda: HistGradientBoostingRegressor(loss="poisson", max_iter=5, random_state=0),
    ),
    "mlp, relu": ("cancer", lambda: _scaled(_mlp((16, 8), "relu"))),
    "mlp, tanh": ("wine", lambda: _scaled(_mlp((10,), "tanh"))),
    "mlp, logistic": ("iris", lambda: _scaled(_mlp((10,), "logistic"))),
    "mlp, identity": ("iris", lambda: _scaled(_mlp((5,), "identity"))),
    "mlp regressor": (
        "diabetes",
        lambda: _scaled(MLPRegressor(hidden_layer_sizes=(12,), max_iter=30, random_state=0)),
    ),
    "mlp regressor, two targets": (
        "diabetes-two",
        lambda: _scaled(
            MLPRegressor(hidden_layer_sizes=(12,), activation="tanh", max_iter=30, random_state=0)
        ),
    ),
}
"""By name: the data set and how to make the estimator."""

_CACHE: dict[str, Any] = {}


def fit(name: str) -> tuple[Any, Any]:
    """The fitted estimator of a name and the data that it was fitted on; fitted once."""
    data, make = FITTED[name]
    x, y = DATA[data]
    if name not in _CACHE:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # few iterations: training need not converge here
            _CACHE[name] = make().fit(x, y)
    return _CACHE[name], x
