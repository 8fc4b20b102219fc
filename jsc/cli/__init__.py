"""From overrides on the command line to checked settings; messages, the console."""
