"""The breaker verifier: judges the recorded history of a real circuit breaker against a specification."""
