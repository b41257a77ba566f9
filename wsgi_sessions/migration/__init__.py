"""Moving to another session store: all at once, or each session at its next use."""
