"""Anybody's compose file: proxies put in front of its dependencies, proved to be the only way, and taken away again."""
