//! Arithmetic in `Z_q` and `R_q = Z_q[X]/(X^N+1)`.
