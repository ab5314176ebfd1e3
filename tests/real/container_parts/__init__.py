"""What the tests with real containers are made of."""
