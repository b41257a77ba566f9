"""The commands: one function each, one module per group."""
