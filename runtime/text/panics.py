"""The border to the `tokenizers` package, which is foreign code fed with foreign files.

Where its Rust code gives up it raises a PanicException, which is a BaseException and no Exception, so that no ordinary
handler sees it. This is the one place where such a thing is caught; what comes out is a fault with the file's name.
"""

from collections.abc import Callable
from typing import TypeVar

from .errors import TokenizerFault

Result = TypeVar("Result")


def guarded(source: str, doing: str, call: Callable[[], Result]) -> Result:
    """What `call` returns; whatever it raises is a fault of the tokenizer in `source`."""
    try:
        return call()
    except (KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError, TokenizerFault):
        raise
    except BaseException as error:
        raise TokenizerFault(source, doing, f"the tokenizers package gives up: {error}") from error
