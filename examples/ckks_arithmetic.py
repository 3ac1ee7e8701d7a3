"""Arithmetic on encrypted vectors: sums, products, an inner product, a matrix, a polynomial."""

from tacit import ckks

params = ckks.parameters(depth=3, log_scale=36)
keys = ckks.keygen(params, sums=[5], matmul=[(5, 2)])

grades = [6.0, 6.6, 7.3, 8.1, 9.0]
x = keys.encrypt(grades)
y = keys.encrypt([0.5, 0.2, 0.1, 0.1, 0.1])
weights = [[0.2, 1.0], [0.2, -1.0], [0.2, 0.5], [0.2, 0.0], [0.2, 0.5]]

results = {
    "x + y": x + y,
    "x - y": x - y,
    "x * y": x * y,
    "2 x + 1": 2 * x + 1,
    "x . y": x @ y,
    "x @ W": x @ weights,
    "x^2 - x": x.polyval([0, -1, 1]),
}
for name, result in results.items():
    values = ", ".join(f"{value:8.4f}" for value in keys.decrypt(result))
    print(f"{name:8} {values:54} level {result.level}, noise 2^{result.noise_bits:.0f}")
