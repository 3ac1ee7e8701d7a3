"""Chooses among protections by what the backends declare, and explains the choice."""
