"""What can go wrong. Each message says what happened, to which file, and what to do next."""


class MaskbatchError(Exception):
    """Base of all errors that maskbatch raises on purpose; the command line prints its message without a traceback."""


class UsageError(MaskbatchError):
    """The options or paths given cannot be used as they are; nothing was written."""


class Interrupted(MaskbatchError):
    """The user stopped the run; what was finished is kept, and the same command goes on."""


class DecodeError(MaskbatchError):
    """A photo or video cannot be read, or only a part of it; the run goes on and the file's row carries this message."""


class PassingError(DecodeError):
    """A file could not be read this time, for a reason that is not in it: the same file may be read another time."""

    @classmethod
    def of(cls, error: OSError) -> "PassingError":
        """Return what the system said of a file, in words."""
        if isinstance(error, (FileNotFoundError, NotADirectoryError)):
            return cls("does not exist")
        return cls(f"cannot be read: {error.strerror or error}")


class WeightsError(MaskbatchError):
    """A model file is missing, damaged, or not a model that fits here."""


class DeviceError(MaskbatchError):
    """The device or runtime asked for is not usable on this machine."""


class DatasetError(MaskbatchError):
    """A training or evaluation dataset cannot be used as it is."""
