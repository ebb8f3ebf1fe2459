"""Runs over time: what is kept of each, and whether the last nights differ from those before."""
