"""`unillm quantize`: a model's weights in fewer bits, as a GGUF that other programs read too."""

import re
from pathlib import Path

from ...registry.amounts import bytes_text
from ...registry.names import ModelRef
from ...registry.pull import pull
from .. import options as of
from ..client import find_model
from ..installed import Installed
from ..pulling import PullReport
from ..session import Session


def quantize(
    session: Session,
    model: of.ModelArgument,
    to: of.MixtureOption = "q4_k_m",
    out: of.OutOption = None,
    name: of.NameOption = None,
    offline: of.OfflineOption = None,
) -> None:
    """Write a copy of a model whose weights take fewer bits, as one GGUF file. The model itself stays as it is.

    It is made from weights that are not quantised yet: safetensors, .bin, or a GGUF in F32, F16 or BF16. Which tensors
    get which kind of block is as in llama.cpp, which reads the file too. With --name it is a model of that name here.

    \b
    Examples:
      unillm quantize qwen3:0.6b --to q4_k_m
      unillm quantize ./my-model --to q8_0 -o my-model-q8.gguf --name my-model:q8
    """
    from ...runtime.quantizing.convert import quantize_model  # late: it takes torch

    files = find_model(session, session.settings(model=model, offline=offline))
    target = (out or Path(f"{_stem(files.name)}-{to.lower()}.gguf")).absolute()
    with PullReport(session.output) as listener:
        size = quantize_model(files, to.lower(), target, listener)
        if name is not None:
            pull(ModelRef.parse(str(target)), Installed.of(session, offline=offline).settings, listener, name=name)
    if session.json:
        session.output.data({"model": files.name, "file": str(target), "size": size, "name": name})
    else:
        session.output.line(f"wrote {target}: {bytes_text(size)}")


def _stem(name: str) -> str:
    """A model's name as a file may be called."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name.rstrip("/").rpartition("/")[2]).strip("-") or "model"
