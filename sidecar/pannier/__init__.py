"""Pannier: a key-value store beside every application.

`import pannier` gives the library's synchronous names, `pannier.aio` the same ones async.
"""
