"""One run, from settings to its record: built, trained, tested."""
