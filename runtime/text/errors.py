"""What can be wrong with a tokenizer or a chat template: each a value with data, worded at the door."""

from ..errors import RuntimeFault


class TokenizerFault(RuntimeFault):
    """A tokenizer's file, or the vocabulary inside a GGUF, is not one that text can be trusted to."""

    def __init__(self, file: str, field: str, reason: str) -> None:
        super().__init__(f"{file}: {field}: {reason}")
        self.file, self.field, self.reason = file, field, reason


class SettingsFault(RuntimeFault):
    """A value of generation_config.json, or of another small file beside the weights, is impossible."""

    def __init__(self, file: str, field: str, reason: str) -> None:
        super().__init__(f"{file}: {field}: {reason}")
        self.file, self.field, self.reason = file, field, reason


class TemplateFault(RuntimeFault):
    """A chat template cannot be read, or cannot write this conversation."""

    def __init__(self, model: str, reason: str, line: int | None = None) -> None:
        at = "" if line is None else f", line {line}"
        super().__init__(f"chat template of {model}{at}: {reason}")
        self.model, self.reason, self.line = model, reason, line


class TemplateLimit(TemplateFault):
    """A chat template asked for more time, memory or text than any conversation needs."""

    def __init__(self, model: str, what: str, line: int | None = None) -> None:
        super().__init__(model, f"limit: {what}", line)
        self.what = what
