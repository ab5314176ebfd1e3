"""The pages of `docs/reference`, each made from the code it speaks of; `tools/write_reference.py`
writes them."""
