"""The StoreBackend resource's definition in Python; `tools/write_crd.py` writes it as YAML."""
