"""toxics."""
