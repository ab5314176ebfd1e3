"""The library's names, async: the source that `pannier.sync` is generated from."""
