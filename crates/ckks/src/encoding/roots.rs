//! Roots of unity `e^(2πik/M)` to the last bit, from arithmetic alone.
//!
//! The C library's `sin` and `cos` differ between systems in the last place, and encodings must not: equal values give
//! equal plaintexts on every machine. So the roots are built in double-double arithmetic (about 104 bits) from
//! `e^(iπ/2) = i` by the half-angle formulas and by multiplication, and rounded once at the end.
//! Error-free transformations: T. J. Dekker, "A floating-point technique for extending the available precision",
//! Numerische Mathematik 18 (1971), sections 3 and 4; D. E. Knuth, TAOCP vol. 2, section 4.2.2, theorem B.

/// An unevaluated sum `hi + lo` with `|lo| <= ulp(hi)/2`.
#[derive(Clone, Copy)]
struct Double {
    hi: f64,
    lo: f64,
}

impl Double {
    const fn new(hi: f64) -> Self {
        Self { hi, lo: 0.0 }
    }

    /// Dekker's Fast2Sum: needs `|a| >= |b|` or `a = 0`.
    fn renormalised(a: f64, b: f64) -> Self {
        let hi = a + b;
        Self {
            hi,
            lo: b - (hi - a),
        }
    }

    /// Knuth's TwoSum on the leading parts, the trailing parts joined.
    fn plus(self, other: Self) -> Self {
        let sum = self.hi + other.hi;
        let virtual_b = sum - self.hi;
        let error = (self.hi - (sum - virtual_b)) + (other.hi - virtual_b);
        Self::renormalised(sum, error + self.lo + other.lo)
    }

    fn minus(self, other: Self) -> Self {
        self.plus(Self {
            hi: -other.hi,
            lo: -other.lo,
        })
    }

    fn times(self, other: Self) -> Self {
        let (product, error) = exact_product(self.hi, other.hi);
        Self::renormalised(product, error + (self.hi * other.lo + self.lo * other.hi))
    }

    /// Multiplication by a power of two, which is exact.
    fn scaled(self, power_of_two: f64) -> Self {
        Self {
            hi: self.hi * power_of_two,
            lo: self.lo * power_of_two,
        }
    }

    /// Long division in two steps: a quotient of 53 bits, then the quotient of what is left.
    fn over(self, divisor: Self) -> Self {
        let first = Self::new(self.hi / divisor.hi);
        let rest = self.minus(divisor.times(first));
        let second = Self::new(rest.hi / divisor.hi);
        let rest = rest.minus(divisor.times(second));
        first.plus(second).plus(Self::new(rest.hi / divisor.hi))
    }

    /// One Newton step from the 53-bit root; needs `self > 0`.
    fn sqrt(self) -> Self {
        let root = Self::new(self.hi.sqrt());
        let rest = self.minus(root.times(root));
        root.plus(rest.over(root.scaled(2.0)))
    }
}

/// `a·b` as rounded product and exact error, by Dekker's splitting into halves of 26 bits.
fn exact_product(a: f64, b: f64) -> (f64, f64) {
    const SPLITTER: f64 = 134_217_729.0; // 2^27 + 1
    let split = |x: f64| {
        let wide = SPLITTER * x;
        let high = wide - (wide - x);
        (high, x - high)
    };
    let product = a * b;
    let ((a_high, a_low), (b_high, b_low)) = (split(a), split(b));
    let error = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low;
    (product, error)
}

/// `(cos, sin)` of `2πk/order` for all `k < order`; `order` is a power of two of at least 8.
///
/// Every value is within one unit in the last place; symmetric ones are exactly equal or opposite.
pub(super) fn roots_of_unity(order: usize) -> Vec<(f64, f64)> {
    debug_assert!(order.is_power_of_two() && order >= 8);
    let octant = first_octant(order);
    (0..order)
        .map(|k| {
            // Fold into [0, π/4]: reflections at π/4, π/2 and π, undone from the inside out.
            let (half, below_pi) = (order / 2, if k > order / 2 { order - k } else { k });
            let below_half_pi = if below_pi > half / 2 {
                half - below_pi
            } else {
                below_pi
            };
            let eighth = order / 8;
            let (mut cos, mut sin) = if below_half_pi > eighth {
                let (c, s) = octant[order / 4 - below_half_pi];
                (s, c)
            } else {
                octant[below_half_pi]
            };
            if below_pi > half / 2 {
                cos = -cos;
            }
            if k > half {
                sin = -sin;
            }
            (cos, sin)
        })
        .collect()
}

/// The roots with `0 <= k <= order/8`, by doubling: `w^(k + 2^b) = w^k · w^(2^b)`.
fn first_octant(order: usize) -> Vec<(f64, f64)> {
    // generators[b] = w^(2^b), found from w^(order/4) = i downwards by halving the angle:
    // cos(t/2) = sqrt((1 + cos t)/2), sin(t/2) = sin t / (2 cos(t/2)).
    let log_quarter = (order / 4).trailing_zeros() as usize;
    let one = Double::new(1.0);
    let mut generators = vec![(Double::new(0.0), one)];
    for _ in 0..log_quarter {
        let (cos, sin) = generators[generators.len() - 1];
        let half_cos = one.plus(cos).scaled(0.5).sqrt();
        generators.push((half_cos, sin.over(half_cos.scaled(2.0))));
    }
    generators.reverse();
    let count = order / 8 + 1;
    let mut roots = vec![(one, Double::new(0.0))];
    for &(cos, sin) in &generators {
        for k in 0..roots.len().min(count - roots.len()) {
            let (c, s) = roots[k];
            roots.push((
                c.times(cos).minus(s.times(sin)),
                c.times(sin).plus(s.times(cos)),
            ));
        }
    }
    roots.iter().map(|(cos, sin)| (cos.hi, sin.hi)).collect()
}
