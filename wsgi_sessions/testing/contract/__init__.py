"""The contract of stores as tests: `suite` has all of them, from a module for each part."""
