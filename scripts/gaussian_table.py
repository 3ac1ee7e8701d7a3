"""Print the cumulative table of crates/ring/src/sampler/gaussian.rs.

Entry k is round(2^64 * P(|x| <= k)) for the discrete Gaussian P(x) ~ exp(-x^2 / (2 sigma^2)), sigma = 3.2, while the
rounded value is below 2^64. Standard library only; 100 decimal digits.
"""

from decimal import Decimal, getcontext

SIGMA = Decimal("3.2")


def cumulative_table() -> list[int]:
    """Thresholds for a 64-bit uniform word, smallest first."""
    getcontext().prec = 100
    weight = [(-Decimal(x * x) / (2 * SIGMA * SIGMA)).exp() for x in range(200)]
    total = weight[0] + 2 * sum(weight[1:])
    table: list[int] = []
    cumulative = weight[0]
    for x in range(1, 200):
        threshold = int((cumulative / total * 2**64).to_integral_value())
        if threshold >= 2**64:
            break
        table.append(threshold)
        cumulative += 2 * weight[x]
    return table


if __name__ == "__main__":
    for threshold in cumulative_table():
        digits = f"{threshold:016x}"
        print("    0x" + "_".join(digits[i : i + 4] for i in range(0, 16, 4)) + ",")
