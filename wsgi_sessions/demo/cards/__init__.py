"""The cards under the race: faults, version stamps, contexts, leases, devices."""
