"""Parties as processes: what one organisation runs, and how all parties of a session run on one machine."""
