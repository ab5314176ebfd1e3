"""The operator's own certificates: a CA in a Secret, what it signs, how sidecars get to know it.

`issuing` and `planning` decide, `secret` and `publishing` talk with the API server, `serving` hands
certificates to TLS, `keeping` puts them together. No private key is ever logged or shown.
"""
