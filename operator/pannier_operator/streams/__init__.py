"""The operator's streams: who may have one, what is pushed on it, and what came back.

`server` listens and `authenticating` says who dials; a `session` is one stream, whose decisions are
made in `pushing`; `fleet` holds them all, hands out what each audience is to run, and counts in
`counting` how each store fares.
"""
