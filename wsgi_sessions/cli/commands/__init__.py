"""The commands, one function each, in one module per group of them."""
