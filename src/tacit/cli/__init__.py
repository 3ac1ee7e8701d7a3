"""The command line: one file per noun, what is printed in `output`, tables of numbers in `samples`."""
