"""Records as files over WebHDFS, in plain blocking calls that both sides of the library share.

The `hdfs` library underneath is blocking, so there is nothing to convert here: the async side runs
a whole operation in one connection's thread, the sync side calls it. `hdfs` and `requests` are
imported when the first session opens, not before.
"""
