"""breaker."""
