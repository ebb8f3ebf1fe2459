"""The reference system to break, and the stacks that bring a system up: embedded, external (and compose)."""
