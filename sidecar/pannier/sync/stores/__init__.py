# Generated from sidecar/pannier/aio/stores/__init__.py by tools/async_to_sync.py; do not edit.
