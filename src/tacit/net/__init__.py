"""What both sides of a connection agree on: forms, names and checks. No policy; of its own I/O only the channel's."""
