"""What operations do, counted: the quantities that take the time on any machine, from the sizes of an operation.

The counts follow the order of operations of docs/design/key-switching.md and of the native evaluator. Words are
residues of 8 bytes. What a working set does not fit is counted by how far it spills: words from beyond a core's own
cache are ``far``, those from beyond all caches ``streamed``. With ``threads``, rows of one pass are dealt out to
threads; counts are then those of the thread that has the most to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from math import ceil

__all__ = ["QUANTITIES", "Caches", "Shape", "Work"]

PARALLEL_WORDS = 1 << 16
"""Words below which the evaluator does not deal out a pass (``MIN_PARALLEL_WORDS`` of the native core)."""
SPILL = 3.0
"""A working set of 1 to 1 + this many times a cache spills a growing part of its words, a larger one all of them."""


@dataclass(frozen=True)
class Caches:
    """Words that stay close: ``near`` to one core, ``shared`` by all cores."""

    near: int
    shared: int


@dataclass
class Work:
    """Quantities of one or more operations.

    ``calls`` of the evaluator; ``butterflies`` of number-theoretic transforms; ``terms`` of sums with constant weights;
    ``products`` of residues that are added up; ``passes``: words of element-wise passes; ``far``, ``streamed``: words
    that come from beyond caches; ``regions``: passes dealt out to threads; ``packed``: words of messages; ``expanded``:
    uniform words from seeds; ``drawn``: samples of errors; ``embedded``: butterflies of complex transforms.
    """

    calls: float = 0.0
    butterflies: float = 0.0
    terms: float = 0.0
    products: float = 0.0
    passes: float = 0.0
    far: float = 0.0
    streamed: float = 0.0
    regions: float = 0.0
    packed: float = 0.0
    expanded: float = 0.0
    drawn: float = 0.0
    embedded: float = 0.0

    def amounts(self) -> tuple[float, ...]:
        """In the order of ``QUANTITIES``."""
        return tuple(getattr(self, name) for name in QUANTITIES)


QUANTITIES = tuple(field.name for field in fields(Work))


@dataclass(frozen=True)
class Shape:
    """Sizes that an operation has: ring degree 2^``log_n``, ``rows`` = level + 1 residues, special primes, threads.

    ``resident``: words of keys and encoded diagonals that a program goes through; an operation that is repeated finds
    its own again in a cache only when these fit it.
    """

    log_n: int
    rows: int
    specials: int
    threads: int
    caches: Caches
    resident: float = 0.0

    @property
    def n(self) -> int:
        return 1 << self.log_n

    @cached_property
    def transform(self) -> float:
        """Butterflies of one row."""
        return self.n / 2 * self.log_n

    @property
    def digits(self) -> int:
        """Of a key switch."""
        return ceil(self.rows / max(1, self.specials))

    @property
    def all_rows(self) -> int:
        """Residues over Q_l·P."""
        return self.rows + self.specials

    @property
    def key_words(self) -> int:
        """Of both halves of one switching key."""
        return 2 * self.digits * self.all_rows * self.n

    def _pass(
        self,
        work: Work,
        items: int,
        size: int,
        moves: Sequence[tuple[float, float]] = (),
        *,
        cut: bool = False,
        butterflies: float = 0.0,
        terms: float = 0.0,
        products: float = 0.0,
        passes: float = 0.0,
    ) -> None:
        """Adds ``items`` equal rows, each with these amounts. ``size``: words that the evaluator takes a row for.

        ``moves``: words that each row moves, and the working set that they belong to. ``cut``: whether rows are cut
        so that all threads end together.
        """
        parallel = self.threads > 1 and items > 1 and items * size >= PARALLEL_WORDS
        share = items / self.threads if parallel else float(items)
        if not cut:
            share = ceil(share)
        work.butterflies += share * butterflies
        work.terms += share * terms
        work.products += share * products
        work.passes += share * passes
        work.regions += parallel
        for words, working_set in moves:
            own = working_set / self.threads if parallel else working_set
            work.far += share * words * _spilled(own, self.caches.near)
            work.streamed += share * words * _spilled(working_set, self.caches.shared)

    def key_switch(self, *, product: bool) -> Work:
        """A rotation, or with ``product`` a product, relinearised and rescaled."""
        work, n, rows, digits = Work(calls=1), self.n, self.rows, self.digits
        divided = self.specials + product
        keys = max(self.resident, self.key_words)
        own = max(self.resident, 6.0 * rows * n + self.key_words)
        lifting = (rows + digits + 4.0) * n
        row = 4 * n * (digits + 1)
        self._pass(
            work,
            rows,
            4 * n,
            [((2 + 2 * product) * n, own)],
            butterflies=self.transform,
            passes=(1 + 2 * product) * n,
        )
        self._pass(
            work,
            divided,
            row,
            [(2 * digits * n, keys), ((rows + 2 * digits) * n, lifting)],
            cut=True,
            butterflies=(digits + 2) * self.transform,
            terms=rows * n,
            products=2 * digits * n,
        )
        sources = max(0, rows - self.specials) + 2 * divided
        self._pass(
            work,
            rows - product,
            row,
            [
                (2 * digits * n, keys),
                ((3 + 3 * product) * n, own),
                ((sources + 2 * digits) * n, lifting),
            ],
            cut=True,
            butterflies=(digits + 1) * self.transform,
            terms=sources * n,
            products=2 * digits * n,
            passes=(4 + 6 * product) * n,
        )
        return work

    def linear(self, *, diagonals: int, babies: int, giants: int, rescaled: bool) -> Work:
        """A linear map; ``babies`` and ``giants``: steps that move something."""
        work, n, rows, digits = Work(calls=1), self.n, self.rows, self.digits
        if not babies and not giants:
            self._pass(work, rows, 4 * n, [(5 * n, max(self.resident, 5.0 * rows * n))], passes=2 * n)
            return self._and_rescale(work) if rescaled else work
        model = float((babies + giants) * self.key_words + diagonals * self.all_rows * n)
        model = max(self.resident, model)
        own = 6.0 * rows * n + model
        row = 4 * n * (digits + 1)
        special_share = self.specials / self.all_rows
        if babies:
            inner = (rows + digits + 2 * (babies + 2) + 4.0) * n
            self._pass(work, rows, 4 * n, [(2 * n, own)], butterflies=self.transform)
            self._pass(
                work,
                self.all_rows,
                row,
                [
                    ((2 * babies * digits + diagonals) * n, model),
                    (2 * (giants + 1) * n, own),
                    ((rows + (babies + 1) * digits + 2 * diagonals + 4 * babies) * n, inner),
                ],
                butterflies=(digits - 1 + (1 + 2 * giants) * special_share) * self.transform,
                terms=rows * n,
                products=(2 * babies * digits + 2 * diagonals) * n,
                passes=(3 * babies + 2 * (giants + 1)) * n,
            )
        else:
            self._pass(
                work,
                rows,
                4 * n,
                [(diagonals * n, model), (4 * diagonals * n, own)],
                passes=2 * diagonals * n,
            )
        for _ in range(giants):
            if babies:
                self._pass(
                    work,
                    rows,
                    4 * n,
                    [(2 * n, own)],
                    butterflies=self.transform,
                    terms=self.specials * n,
                    passes=n,
                )
            self._pass(work, rows, 4 * n, [(2 * n, own)], butterflies=self.transform)
            self._pass(
                work,
                self.all_rows,
                row,
                [
                    (2 * digits * n, model),
                    (5 * n, own),
                    ((rows + 2 * digits) * n, (rows + digits + 4.0) * n),
                ],
                butterflies=(digits - 1 + special_share) * self.transform,
                terms=rows * n,
                products=2 * digits * n,
                passes=5 * n,
            )
        divided = self.specials + rescaled
        self._pass(work, 2 * divided, 4 * n, butterflies=self.transform)
        self._pass(
            work,
            2 * (rows - rescaled),
            4 * n,
            [(2 * n, own)],
            butterflies=self.transform,
            terms=divided * n,
            passes=n,
        )
        return work

    def rescale(self) -> Work:
        """Division by the last prime."""
        return self._and_rescale(Work(calls=1))

    def _and_rescale(self, work: Work) -> Work:
        n, rows = self.n, self.rows
        self._pass(work, 2, 4 * n, butterflies=self.transform)
        self._pass(
            work,
            2 * (rows - 1),
            4 * n,
            [(2 * n, max(self.resident, 4.0 * rows * n))],
            butterflies=self.transform,
            terms=n,
            passes=2 * n,
        )
        return work

    def sum(self) -> Work:
        """Two ciphertexts added, or one times a constant."""
        work = Work(calls=1)
        self._pass(
            work,
            2 * self.rows,
            3 * self.n,
            [(2 * self.n, max(self.resident, 4.0 * self.rows * self.n)), (self.n, self.resident)],
            passes=self.n,
        )
        return work

    def copy(self) -> Work:
        """A ciphertext copied, by one thread: what dropping to this level takes."""
        work, words = Work(calls=1), 2.0 * self.rows * self.n
        self._pass(work, 1, 1, [(2 * words, max(self.resident, 2 * words)), (words, self.resident)])
        work.passes = words / 2
        return work

    def sum_with_plain(self) -> Work:
        """A plaintext, or a constant, added: one part is a copy."""
        work, words = Work(calls=1), self.rows * self.n
        own = max(self.resident, 5.0 * words)
        self._pass(work, self.rows, 3 * self.n, [(3 * self.n, own)], passes=self.n)
        self._pass(work, 1, 1, [(words, own)], passes=words)
        return work

    def combinations(self, *, inputs: int, outputs: int) -> Work:
        """Linear combinations of many ciphertexts."""
        work = Work(calls=1)
        self._pass(
            work,
            2 * self.rows,
            self.n * inputs,
            [
                (
                    (inputs + outputs) * self.n,
                    max(self.resident, 2.0 * self.rows * (inputs + outputs) * self.n),
                )
            ],
            terms=inputs * outputs * self.n,
            passes=outputs * self.n,
        )
        return work

    def encode(self) -> Work:
        """Cleartext to plaintext."""
        return Work(
            calls=1,
            embedded=self.transform,
            butterflies=self.rows * self.transform,
            passes=2.0 * self.rows * self.n,
        )

    def decode(self) -> Work:
        """Plaintext to cleartext."""
        return Work(calls=1, embedded=self.transform, butterflies=self.rows * self.transform)

    def encrypt(self) -> Work:
        """With the secret key; one part is a seed."""
        words = self.rows * self.n
        return Work(
            calls=1,
            expanded=words,
            drawn=self.n,
            butterflies=self.rows * self.transform,
            passes=4.0 * words,
        )

    def decrypt(self) -> Work:
        return Work(calls=1, passes=4.0 * self.rows * self.n)

    def read(self, *, seeded: bool) -> Work:
        """A ciphertext from its binary form."""
        words = self.rows * self.n
        # What is written goes beyond the caches where the program has more than fits them.
        far = 2.0 * words * _spilled(self.resident, self.caches.near)
        return Work(
            calls=1, packed=words if seeded else 2.0 * words, expanded=words if seeded else 0.0, far=far
        )

    def write(self, *, seeded: bool) -> Work:
        """A ciphertext to its binary form."""
        return Work(calls=1, packed=(1.0 if seeded else 2.0) * self.rows * self.n)

    def make_key(self) -> Work:
        """One switching key, by its owner."""
        words = self.key_words / 2
        return Work(
            calls=1,
            expanded=words,
            drawn=self.digits * self.n,
            butterflies=self.digits * self.all_rows * self.transform,
            passes=4.0 * words,
            far=3.0 * words * _spilled(self.key_words, self.caches.near),
        )

    def write_key(self) -> Work:
        return Work(calls=1, packed=self.key_words / 2)

    def read_key(self) -> Work:
        words = self.key_words / 2
        return Work(calls=1, packed=words, expanded=words)


def _spilled(words: float, cache: int) -> float:
    """Part of a working set that is not found in a cache, 0 to 1."""
    return min(1.0, max(0.0, (words / cache - 1.0) / SPILL))
