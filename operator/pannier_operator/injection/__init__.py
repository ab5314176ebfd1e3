"""Sidecars put into pods as they are created: the mutating admission webhook."""
