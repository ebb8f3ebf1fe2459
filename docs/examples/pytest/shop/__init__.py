"""A shop that asks somebody else for its prices."""
