"""Encrypted prediction: the owner encrypts, the provider computes on ciphertexts, only the owner can decrypt."""
