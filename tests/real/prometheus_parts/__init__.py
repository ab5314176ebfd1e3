"""What the tests with a real Prometheus are made of."""
