//! Full-RNS leveled CKKS.
