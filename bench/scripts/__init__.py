"""What the peers are told to do: scripts for k6 and Locust, run by them, never imported."""
