"""The three cards under the race: version stamps, contexts, leases."""
