"""The runner of vectors/*.json."""
