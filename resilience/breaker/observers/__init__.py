"""Edges that watch breakers while a run goes on and emit events for the run record."""
