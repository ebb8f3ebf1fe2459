"""Circuit breakers of real libraries behind one small protocol; see base.py."""
