//! The local steps of the protocol `replicated3`: three parties, of which each has two of three components of every secret.
//!
//! Positions: in a step with roles, position `p` holds the components `p` and `p + 1` (modulo 3) and the streams of the same
//! numbers, so that stream 0 is known to positions 0 and 2, stream 1 to 1 and 0, and stream 2 to 2 and 1. Who knows a stream
//! takes as many words from it, in the same order. What is sent and why it tells nothing: `replicated_*.py` of the backend.

pub mod carries;
pub mod choice;
pub mod quotient;
