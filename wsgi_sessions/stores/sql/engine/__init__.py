"""Transactions on a SQL database: short, within a deadline, with every fault named."""
