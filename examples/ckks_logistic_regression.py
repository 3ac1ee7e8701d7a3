"""Logistic regression on data that the computing side cannot read: prediction, then training.

The scores of encrypted patients by a clear model, and a model trained on encrypted patients with encrypted weights,
where the sigmoid is the polynomial 0.5 + 0.197 t - 0.004 t^3 on [-5, 5].
"""

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import scale

from tacit import ckks

data = load_breast_cancer()
X, y = scale(data.data[:, :8]), data.target
X_train, y_train, X_test, y_test = X[:40], y[:40], X[40:140], y[40:140]
features = X.shape[1]

# Prediction: the owner encrypts a patient, the provider computes the score, the owner decrypts it.
model = LogisticRegression().fit(X_train, y_train)
keys = ckks.keygen(ckks.Parameters.from_literal(ckks.N13_DEPTH2), sums=[features])
scores = [keys.decrypt(keys.encrypt(row) @ model.coef_[0] + model.intercept_[0])[0] for row in X_test]
error = np.abs(scores - model.decision_function(X_test)).max()
accuracy = np.mean((np.array(scores) > 0) == y_test)
print(
    f"prediction: accuracy {accuracy:.2f}, as in the clear {model.score(X_test, y_test):.2f}, largest error {error:.0e}"
)

# Training: rows, labels and weights are encrypted; the owner only refreshes the weights after each epoch.
deep = ckks.keygen(ckks.Parameters.from_literal(ckks.N14_DEPTH7), sums=[features], threads=2)
rows = [(deep.encrypt(row), deep.encrypt([label])) for row, label in zip(X_train, y_train, strict=True)]
weights, bias = np.zeros(features), np.zeros(1)
for epoch in range(2):
    w, b = deep.encrypt(weights), deep.encrypt(bias)
    residuals = [((row @ w + b).polyval([0.5, 0.197, 0, -0.004]) - label, row) for row, label in rows]
    gradient, slope = residuals[0][0] * residuals[0][1], residuals[0][0]
    for residual, row in residuals[1:]:
        gradient, slope = gradient + residual * row, slope + residual
    weights, bias = deep.decrypt(w - gradient / len(rows)), deep.decrypt(b - slope / len(rows))
    trained = np.mean((X_test @ weights + bias > 0) == y_test)
    print(f"training, epoch {epoch + 1}: accuracy {trained:.2f}, {gradient}")
