"""The pool's decisions, without I/O: who gets which connection, what to open, close or refuse."""
