"""Stores: where session records live. Each adapter imports the contract and never another
adapter."""
