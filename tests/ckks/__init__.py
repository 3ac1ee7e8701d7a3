"""The bare scheme in Python."""
