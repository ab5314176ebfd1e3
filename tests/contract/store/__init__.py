"""The one suite that every store passes, sync and async: what the library promises, by section."""
