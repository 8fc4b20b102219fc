"""The errors that users see: each message says what came, what is allowed and what to do."""


class CommandError(ValueError):
    """The command cannot be carried out as given; the message is all that its user needs."""


class JobFailed(Exception):  # noqa: N818  # the word for it in results and exit codes
    """A job failed and has told its user."""


class ResultError(ValueError):
    """A record is missing, damaged or of another schema; the message names the file and what is wrong with it."""


class DatasetError(ValueError):
    """The data cannot be used; the message says what came, what is allowed and what to do."""


class CheckpointError(ValueError):
    """A checkpoint cannot be read or does not fit; the message says why."""


class NetworkError(ValueError):
    """A network of integers is damaged or cannot be exact; the message names the key or the layer, and what to do."""


class CircuitError(Exception):
    """A circuit is not what it should be, or a tool failed on it; the message says where, or what the tool said."""


class QuantizationError(ValueError):
    """A network cannot be quantised; the message names the layer, and what is allowed."""


class NoRunError(ValueError):
    """The paths given hold no run; the message says what was looked for."""


class ComparisonError(ValueError):
    """The two cannot be compared; the message says why, and what to do."""


class SimulationError(ValueError):
    """The simulation cannot be made so; the message says what came, what is allowed and what to do."""


class WorkerError(RuntimeError):
    """A worker raised or died; the message holds its traceback, or the signal or exit code that it died with."""
