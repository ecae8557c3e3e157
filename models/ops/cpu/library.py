"""The compiled library as Python sees it: found beside this file, loaded once, called through ctypes.

This file knows the C interface (unillm_cpu.h) and nothing of tensors. A `Context` owns the library's threads.
"""

import ctypes
import importlib.machinery
from ctypes import c_char_p, c_float, c_int32, c_int64, c_void_p
from functools import cache
from pathlib import Path

from . import scan_structures as scans

_LONGEST_NAMES = 256


class Product(ctypes.Structure):
    """One of several products that share their activations."""

    _fields_ = (
        ("weight", c_void_p),
        ("kind", c_int32),
        ("accumulate", c_int32),
        ("columns", c_int64),
        ("y", c_void_p),
        ("y_stride", c_int64),
        ("weight_stride", c_int64),
    )


class Multiplication(ctypes.Structure):
    """Products of the same activations."""

    _fields_ = (
        ("products", ctypes.POINTER(Product)),
        ("x", c_void_p),
        ("x_stride", c_int64),
        ("rows", c_int64),
        ("depth", c_int64),
        ("count", c_int32),
        ("x_kind", c_int32),
        ("exact", c_int32),
        ("gated", c_int32),
    )


class Attention(ctypes.Structure):
    """One layer's attention over paged keys and values."""

    _fields_ = (
        ("queries", c_void_p),
        ("out", c_void_p),
        ("keys", c_void_p),
        ("values", c_void_p),
        ("table", c_void_p),
        ("starts", c_void_p),
        ("lengths", c_void_p),
        ("sinks", c_void_p),
        ("alibi", c_void_p),
        ("key_scales", c_void_p),
        ("value_scales", c_void_p),
        ("query_stride", c_int64),
        ("out_stride", c_int64),
        ("key_strides", c_int64 * 3),
        ("value_strides", c_int64 * 3),
        ("scale_strides", c_int64 * 3),
        ("table_stride", c_int64),
        ("window", c_int64),
        ("chunk", c_int64),
        ("query_kind", c_int32),
        ("out_kind", c_int32),
        ("cache_kind", c_int32),
        ("sequences", c_int32),
        ("page_size", c_int32),
        ("heads", c_int32),
        ("kv_heads", c_int32),
        ("head_dim", c_int32),
        ("causal", c_int32),
        ("exact", c_int32),
        ("scale", c_float),
        ("softcap", c_float),
    )


class RmsNorm(ctypes.Structure):
    """Add to a residual, and norm."""

    _fields_ = (
        ("x", c_void_p),
        ("addend", c_void_p),
        ("weight", c_void_p),
        ("out", c_void_p),
        ("rows", c_int64),
        ("columns", c_int64),
        ("x_stride", c_int64),
        ("addend_stride", c_int64),
        ("out_stride", c_int64),
        ("kind", c_int32),
        ("epsilon", c_float),
        ("weight_offset", c_float),
    )


class Gate(ctypes.Structure):
    """activation(gate) * up."""

    _fields_ = (
        ("gate", c_void_p),
        ("up", c_void_p),
        ("out", c_void_p),
        ("rows", c_int64),
        ("columns", c_int64),
        ("gate_stride", c_int64),
        ("up_stride", c_int64),
        ("out_stride", c_int64),
        ("kind", c_int32),
        ("activation", c_int32),
    )


class Rotation(ctypes.Structure):
    """Norm and rotate queries and keys, and store keys and values."""

    _fields_ = (
        ("queries", c_void_p),
        ("keys", c_void_p),
        ("values", c_void_p),
        ("key_pages", c_void_p),
        ("value_pages", c_void_p),
        ("key_scales", c_void_p),
        ("value_scales", c_void_p),
        ("slots", c_void_p),
        ("cosines", c_void_p),
        ("sines", c_void_p),
        ("query_norm", c_void_p),
        ("key_norm", c_void_p),
        ("tokens", c_int64),
        ("query_stride", c_int64),
        ("key_stride", c_int64),
        ("value_stride", c_int64),
        ("key_strides", c_int64 * 3),
        ("value_strides", c_int64 * 3),
        ("scale_strides", c_int64 * 3),
        ("kind", c_int32),
        ("cache_kind", c_int32),
        ("page_size", c_int32),
        ("heads", c_int32),
        ("kv_heads", c_int32),
        ("head_dim", c_int32),
        ("rotated", c_int32),
        ("neighbours", c_int32),
        ("epsilon", c_float),
        ("norm_offset", c_float),
    )


class Turning(ctypes.Structure):
    """Cosines and sines of positions."""

    _fields_ = (
        ("positions", c_void_p),
        ("frequencies", c_void_p),
        ("cosines", c_void_p),
        ("sines", c_void_p),
        ("tokens", c_int64),
        ("pairs", c_int64),
        ("frequency_stride", c_int64),
        ("factor", c_float),
    )


class Rows(ctypes.Structure):
    """Rows out of a packed table."""

    _fields_ = (
        ("packed", c_void_p),
        ("ids", c_void_p),
        ("out", c_void_p),
        ("columns", c_int64),
        ("count", c_int64),
        ("out_stride", c_int64),
        ("kind", c_int32),
    )


class Choice(ctypes.Structure):
    """The largest of each row."""

    _fields_ = (
        ("x", c_void_p),
        ("indices", c_void_p),
        ("largest", c_void_p),
        ("stride", c_int64),
        ("rows", c_int64),
        ("columns", c_int64),
    )


class Step(ctypes.Structure):
    """A call to be made again: the function's address, and that of its structure."""

    _fields_ = (("run", c_void_p), ("operands", c_void_p))


class Experts(ctypes.Structure):
    """Products with the matrices of the experts that rows have chosen."""

    _fields_ = (
        ("weights", c_void_p),
        ("x", c_void_p),
        ("chosen", c_void_p),
        ("y", c_void_p),
        ("x_stride", c_int64),
        ("y_stride", c_int64),
        ("rows", c_int64),
        ("choices", c_int64),
        ("depth", c_int64),
        ("columns", c_int64),
        ("experts", c_int32),
        ("kind", c_int32),
        ("x_kind", c_int32),
        ("exact", c_int32),
    )


_SIGNATURES = {
    "unillm_instruction_sets": (c_int32, (c_char_p, c_int32)),
    "unillm_open": (c_void_p, (c_int32, c_char_p)),
    "unillm_close": (None, (c_void_p,)),
    "unillm_packed_bytes": (c_int64, (c_int32, c_int64, c_int64)),
    "unillm_pack": (None, (c_void_p, c_int32, c_void_p, c_int64, c_void_p, c_int64, c_int64, c_void_p)),
    "unillm_matmul": (None, (c_void_p, ctypes.POINTER(Multiplication))),
    "unillm_dense": (None, (c_void_p, ctypes.POINTER(Multiplication))),
    "unillm_experts": (None, (c_void_p, ctypes.POINTER(Experts))),
    "unillm_read": (c_int64, (c_void_p, c_void_p, c_int64)),
    "unillm_dots": (c_int64, (c_void_p, c_int64)),
    "unillm_attend": (None, (c_void_p, ctypes.POINTER(Attention))),
    "unillm_rms_norm": (None, (c_void_p, ctypes.POINTER(RmsNorm))),
    "unillm_gated": (None, (c_void_p, ctypes.POINTER(Gate))),
    "unillm_rotate": (None, (c_void_p, ctypes.POINTER(Rotation))),
    "unillm_turns": (None, (c_void_p, ctypes.POINTER(Turning))),
    "unillm_embed": (None, (c_void_p, ctypes.POINTER(Rows))),
    "unillm_argmax": (None, (c_void_p, ctypes.POINTER(Choice))),
    "unillm_scan_matrix": (None, (c_void_p, ctypes.POINTER(scans.MatrixScan))),
    "unillm_scan_channels": (None, (c_void_p, ctypes.POINTER(scans.SelectiveScan))),
    "unillm_convolve": (None, (c_void_p, ctypes.POINTER(scans.Convolution))),
    "unillm_carry": (None, (c_void_p, ctypes.POINTER(scans.Carrying))),
    "unillm_fade": (None, (c_void_p, ctypes.POINTER(scans.Fading))),
    "unillm_average": (None, (c_void_p, ctypes.POINTER(scans.Averaging))),
    "unillm_pace": (None, (c_void_p, ctypes.POINTER(scans.Pacing))),
    "unillm_make_unit": (None, (c_void_p, ctypes.POINTER(scans.Unit))),
    "unillm_leave": (None, (c_void_p, ctypes.POINTER(scans.Leaving))),
    "unillm_replay": (None, (c_void_p, c_void_p, c_int64, c_void_p)),
}


def library_file() -> Path | None:
    """Where the compiled library is; None where the package was built without it."""
    names = (f"_kernels{suffix}" for suffix in importlib.machinery.EXTENSION_SUFFIXES)
    return next((path for name in names if (path := Path(__file__).with_name(name)).is_file()), None)


@cache
def library(path: Path) -> ctypes.CDLL:
    """The library in `path`, its functions typed."""
    loaded = ctypes.CDLL(str(path))
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(loaded, name)
        function.restype, function.argtypes = result, arguments
    return loaded


def instruction_sets(loaded: ctypes.CDLL) -> list[str]:
    """Those that the library holds and this machine runs, best first."""
    names = ctypes.create_string_buffer(_LONGEST_NAMES)
    length = loaded.unillm_instruction_sets(names, _LONGEST_NAMES)
    return names.raw[:length].decode().split()


class Context:
    """The threads and the memory of the kernels. Calls on one context wait for each other."""

    def __init__(self, loaded: ctypes.CDLL, threads: int, instruction_set: str | None = None) -> None:
        name = None if instruction_set is None else instruction_set.encode()
        self.handle: int | None = loaded.unillm_open(threads, name)
        if self.handle is None:
            raise ValueError(
                f"the kernels have no {instruction_set!r} for this machine, or cannot run {threads} threads"
            )
        self.library = loaded

    def close(self) -> None:
        """End the threads. The context is of no use any more."""
        if self.handle is not None:
            self.library.unillm_close(self.handle)
        self.handle = None

    def __del__(self) -> None:
        if getattr(self, "handle", None) is not None:
            self.close()
