"""Why a server cannot be started: each a value with data, worded at the door."""

from ..errors import RuntimeFault


class CannotListen(RuntimeFault):
    """Nobody can be reached at that address from here, or somebody else listens there."""

    def __init__(self, address: str, reason: str, hint: str | None = None) -> None:
        super().__init__(f"cannot listen on {address}: {reason}")
        self.address, self.reason = address, reason
        self.hint = hint


class BadCertificate(RuntimeFault):
    """The certificate or its key cannot be used."""

    def __init__(self, certificate: str, key: str, reason: str) -> None:
        super().__init__(f"cannot serve HTTPS with {certificate} and {key}: {reason}")
        self.certificate, self.key, self.reason = certificate, key, reason
        self.hint = "both are PEM files, the key without a password, made for one another"


class NotServed(RuntimeFault):
    """A model that was to be loaded at the start cannot be."""

    def __init__(self, message: str, hint: str | None, *, for_memory: bool) -> None:
        super().__init__(message)
        self.hint, self.for_memory = hint, for_memory
