"""The errors that maskbatch raises on purpose. Each message says what happened, to which file, and what to do next."""


class MaskbatchError(Exception):
    """Base of all errors that maskbatch raises on purpose; the command line prints its message without a traceback."""


class UsageError(MaskbatchError):
    """The given options or paths cannot be used as they are; nothing was written."""


class Interrupted(MaskbatchError):
    """The user stopped the scan; finished work is kept, and the same command continues."""


class DecodeError(MaskbatchError):
    """A photo or video cannot be read, or only in part. The scan continues, and the file's row carries this message."""


class TransientError(DecodeError):
    """A file could not be read this time, for a reason outside the file. The next scan reads the file again."""

    @classmethod
    def from_os_error(cls, error: OSError) -> "TransientError":
        """Make an error from the reason that the operating system gave."""
        if isinstance(error, (FileNotFoundError, NotADirectoryError)):
            return cls("does not exist")
        return cls(f"cannot be read: {error.strerror or error}")


class WeightsError(MaskbatchError):
    """A model file is missing, damaged, or not a model that fits here."""


class DeviceError(MaskbatchError):
    """The requested device or runtime cannot be used on this machine."""


class DatasetError(MaskbatchError):
    """A training or evaluation dataset cannot be used as it is."""
