"""The tests: contract/ unit/ real/ faults/ bench/; fixtures for the real parts are in real/."""
