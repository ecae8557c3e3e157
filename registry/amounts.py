"""Numbers of bytes and parameters, as the catalogue spells them and as people read them."""

import re

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "G": 10**9, "T": 10**12}
_AMOUNT = re.compile(r"(?P<number>\d{1,6}(\.\d{1,6})?) ?(?P<unit>[kKMBGT]?)B?")


def read_amount(text: str) -> int:
    """The number that "4.7 GB", "135M" or "8.03B" stands for. Raises `ValueError`."""
    found = _AMOUNT.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not an amount such as 4.7 GB or 8.03B")
    return round(float(found["number"]) * _UNITS[found["unit"].upper()])


def read_rate(text: str) -> int:
    """The bytes a second that "5M" or "500 kB" stands for. Raises `ValueError`."""
    rate = read_amount(text)
    if not rate:
        raise ValueError("a limit of 0 bytes a second would fetch nothing")
    return rate


def bytes_text(count: int) -> str:
    """Bytes as people say them: 4.7 GB, 98.4 MB."""
    for unit, size in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            number = count / size
            return f"{number:.0f} {unit}" if number >= 100 else f"{number:.1f} {unit}"
    return f"{count} bytes"


def count_text(count: int) -> str:
    """Parameters as people say them: 135M, 8.03B."""
    for unit, size in (("T", 10**12), ("B", 10**9), ("M", 10**6), ("K", 10**3)):
        if count >= size:
            number = count / size
            return f"{number:.0f}{unit}" if number >= 100 else f"{number:.3g}{unit}"
    return str(count)
