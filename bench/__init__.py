"""Comparisons with other programs: interleaved, as ratios. Never asserted in tests: machines are noisy."""
