"""What the compiled library takes for recurrent layers, field by field as `unillm_scans.h` has it. Knows no tensors."""

from ctypes import Structure, c_float, c_int32, c_int64, c_void_p


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
    """Vectors of each token and head, which several heads may share."""

    _fields_ = (("data", c_void_p), *((name, c_int64) for name in ("token_stride", "head_stride", "share", "count")))


class MatrixScan(Structure):
    """A matrix for each head that decays, forgets and takes in."""

    _fields_ = (
        ("states", States),
        *((name, Heads) for name in ("q", "k", "v", "decay", "a", "b", "taken")),
        ("out", c_void_p),
        *((name, c_int64) for name in ("tokens", "heads", "width", "size")),
        *((name, c_int32) for name in ("paces", "reads_before", "replaces")),
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
        ("kind", c_int32),
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


class Pacing(Structure):
    """How far each head goes with a token."""

    _fields_ = (
        *((name, c_void_p) for name in ("steps", "slowness", "decay", "paces", "decays")),
        *((name, c_int64) for name in ("step_stride", "tokens", "columns")),
        ("kind", c_int32),
        ("shortest", c_float),
        ("longest", c_float),
    )


class Unit(Structure):
    """Vectors of length 1, each head's times a factor."""

    _fields_ = (
        *((name, c_void_p) for name in ("x", "factors", "out")),
        *((name, c_int64) for name in ("x_stride", "tokens", "heads", "size")),
        ("epsilon", c_float),
    )


class Leaving(Structure):
    """What was skipped is added, and the sum gated and normed."""

    _fields_ = (
        *((name, c_void_p) for name in ("x", "skipped", "through", "gate", "weight", "out")),
        *((name, c_int64) for name in ("skipped_stride", "gate_stride", "tokens", "columns", "head")),
        ("group", c_int64),
        ("weight_stride", c_int64),
        ("kind", c_int32),
        ("gate_first", c_int32),
        ("epsilon", c_float),
    )
