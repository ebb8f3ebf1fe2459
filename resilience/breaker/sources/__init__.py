"""Specifications read from where they stand: breaker objects (`objects`) and a Resilience4j application.yml (`resilience4j`)."""
