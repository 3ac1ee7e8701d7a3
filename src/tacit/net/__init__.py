"""What both sides of a connection agree on: forms, names and checks. No policy, and no I/O of its own."""
