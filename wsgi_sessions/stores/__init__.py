"""Stores of session records. Each adapter imports the contract and never another adapter."""
