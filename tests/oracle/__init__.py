"""A slow model of the scheme in plain Python integers, written from the papers, to compare the Rust core
with.

Nothing here imports Tacit. Rings are small (N = 2^4 … 2^7), polynomials are lists of Python integers,
products are
schoolbook, the canonical embedding is evaluated directly, and the number theoretic transform is its
definition.
"""
