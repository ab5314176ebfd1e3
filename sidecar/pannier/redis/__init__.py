"""The words of Redis: its addresses, commands, scripts and replies, and where records live in it.

No event loop here: `aio/` and `sync/` share these. The library redis-py is another, `import redis`.
"""
