"""Functions of secrets, written once above the primitives: each with a proven error, output range and slope."""
