"""Pannier's Kubernetes operator: StoreBackend resources, pushed live to every sidecar.

It is reached by `pannier operator` (`pannier_operator.main`). It dials no backend, and imports of
the sidecar's side only the words of its configuration (`pannier.config`, `pannier.errors`).
"""
