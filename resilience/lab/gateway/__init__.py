"""The gateway service; see app.py."""
