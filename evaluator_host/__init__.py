"""The evaluator host of a box: its daemon, its sandboxes and their confinement."""
