"""What Lightning is given: the module, its callbacks, loggers and checkpoints."""
