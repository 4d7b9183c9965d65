"""What the scheduler remembers: jobs, the state of their slices, inputs, results, and the ledger."""
