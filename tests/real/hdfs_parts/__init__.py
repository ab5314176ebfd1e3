"""The parts of a real HDFS for tests: its jars, its JVMs and its configuration."""
