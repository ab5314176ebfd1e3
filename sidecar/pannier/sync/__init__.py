"""The library's names, sync: generated from `pannier.aio`, but for the modules right in here."""
