"""Protections: each backend declares what it supports, costs and assumes, and runs what was chosen."""
