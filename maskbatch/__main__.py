"""`python -m maskbatch` is the `maskbatch` command."""

import atexit
import os
import sys
from collections.abc import Callable
from contextlib import suppress

from maskbatch.cli.standard_streams import open_standard_streams

_COULD_NOT_RUN, _INTERRUPTED = 1, 130
# messages of the system and of libraries when memory, address space or threads run out
_SHORT = ("cannot allocate memory", "failed to map segment", "can't start new thread", "bad_alloc", "out of memory")
_NO_MEMORY = "not enough memory ({}): end other programs, or raise the limits of this one (ulimit -v, -u)"
_UNEXPECTED = "{}: {}. This should not happen; --log-file keeps the details"


def run() -> None:
    """Run the command, including its imports, and end the process with its exit code."""
    open_standard_streams()
    # the linear algebra of numpy and scipy is hardly used here, but the threads that wait for it would take turns with
    # the networks: a twentieth of a scan's CPU time
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # OpenCV's own threads spin while they wait for its short jobs, and keep the cores from the networks
    os.environ.setdefault("OPENCV_FOR_THREADS_NUM", "1")
    # a thread that comes back from a network, a codec or the disk waits up to this long for the interpreter's lock: at the
    # usual 5 ms, scans take up to 2 % longer
    sys.setswitchinterval(0.0005)
    code = _code_of(_main)
    could_print = _code_of(lambda: sys.stdout.flush())
    if code != _INTERRUPTED:  # do not wait for a network or decoder that hangs
        atexit._run_exitfuncs()
    with suppress(OSError):
        sys.stderr.flush()
    # taking the libraries apart takes a quarter of a second, and saves nothing
    os._exit(code or could_print)


def _main() -> None:
    from maskbatch.cli.main import main

    main()


def _code_of(call: Callable[[], None]) -> int:
    """Return the exit code of `call`; an unexpected error is printed as one sentence."""
    try:
        call()
    except SystemExit as ended:
        return ended.code or 0
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:  # the program that reads our output has closed it
        return _COULD_NOT_RUN
    except Exception as error:
        print(f"Error: {_words(error)}", file=sys.stderr)
        return _COULD_NOT_RUN
    return 0


def _words(error: Exception) -> str:
    text = str(error).strip().splitlines()[-1:] or [type(error).__name__]
    if isinstance(error, MemoryError) or any(words in str(error).lower() for words in _SHORT):
        return _NO_MEMORY.format(text[0])
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror or text[0]
    return _UNEXPECTED.format(type(error).__name__, text[0])


if __name__ == "__main__":
    run()
