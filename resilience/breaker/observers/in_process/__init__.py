"""Observers of breaker objects that live in this process: `registry.attach` finds the one for an object."""
