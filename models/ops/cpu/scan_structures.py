"""What the compiled library takes for recurrent layers, field by field as `unillm_scans.h` has it. Knows no tensors."""

from ctypes import Structure, c_int32, c_int64, c_void_p


class States(Structure):
    """The rows of a state, which of them each sequence reads and writes, and where its tokens begin."""

    _fields_ = (
        ("rows", c_void_p),
        ("sources", c_void_p),
        ("targets", c_void_p),
        ("fresh", c_void_p),
        ("starts", c_void_p),
        ("row_stride", c_int64),
        ("sequences", c_int64),
    )


class Heads(Structure):
    """Vectors of each token and head."""

    _fields_ = (("data", c_void_p), ("token_stride", c_int64), ("head_stride", c_int64))


class MatrixScan(Structure):
    """A matrix for each head that decays, forgets and takes in."""

    _fields_ = (
        ("states", States),
        *((name, Heads) for name in ("q", "k", "v", "decay", "a", "b")),
        ("out", c_void_p),
        *((name, c_int64) for name in ("tokens", "heads", "width", "size")),
        ("paces", c_int32),
        ("reads_before", c_int32),
    )


class SelectiveScan(Structure):
    """Some numbers for each channel, which forget at paces of their own."""

    _fields_ = (
        ("states", States),
        *((name, c_void_p) for name in ("x", "steps", "decay", "b", "c", "out")),
        *(
            (name, c_int64)
            for name in ("x_stride", "step_stride", "b_stride", "c_stride", "tokens", "channels", "size")
        ),
    )


class Convolution(Structure):
    """Each channel over its last inputs."""

    _fields_ = (
        ("states", States),
        *((name, c_void_p) for name in ("x", "weight", "bias", "out")),
        *((name, c_int64) for name in ("x_stride", "tokens", "channels", "taps")),
        ("silu", c_int32),
    )


class Carrying(Structure):
    """The token before."""

    _fields_ = (
        ("states", States),
        ("x", c_void_p),
        ("out", c_void_p),
        *((name, c_int64) for name in ("x_stride", "tokens", "channels")),
        ("kind", c_int32),
    )


class Fading(Structure):
    """A number for each channel."""

    _fields_ = (
        ("states", States),
        *((name, c_void_p) for name in ("factors", "terms", "out")),
        *((name, c_int64) for name in ("factor_stride", "term_stride", "tokens", "channels")),
    )


class Averaging(Structure):
    """A weighted mean of all so far."""

    _fields_ = (
        ("states", States),
        *((name, c_void_p) for name in ("k", "v", "decay", "bonus", "out")),
        *((name, c_int64) for name in ("k_stride", "v_stride", "tokens", "channels")),
    )
