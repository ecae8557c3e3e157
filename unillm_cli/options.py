"""Every option and argument that commands share, named once. A command's signature is its documentation.

The metavar says what a shell completes: MODEL an installed model or a catalogue name, PATH a file.
"""

from typing import Annotated, Literal, TypeAlias

from typer import Argument, Option

Dtype: TypeAlias = Literal["auto", "float32", "float16", "bfloat16"]

JsonOption = Annotated[bool, Option("--json", help="Print the result as JSON.")]
QuietOption = Annotated[bool, Option("--quiet", "-q", help="Say only what matters: no progress, no notices.")]
DebugOption = Annotated[bool, Option("--debug", help="Show where in the program an error came from.")]

ModelOption = Annotated[
    str | None,
    Option(
        "--model", "-m", metavar="MODEL", help="The model: a name, hf.co/org/repo, org/repo, a folder or a weight file."
    ),
]
ModelArgument = Annotated[str, Argument(metavar="MODEL", help="The model's name.")]
OptionalModelArgument = Annotated[str | None, Argument(metavar="[MODEL]", help="The model's name.", show_default=False)]
ModelsArgument = Annotated[list[str], Argument(metavar="MODEL...", help="The models' names.")]

DeviceOption = Annotated[
    str | None, Option("--device", metavar="DEVICE", help="Where it runs: auto, cpu, cuda, cuda:1 or mps.")
]
DtypeOption = Annotated[Dtype | None, Option("--dtype", help="What it computes in.")]
ContextOption = Annotated[
    int | None, Option("--context", metavar="TOKENS", min=1, help="The longest prompt and answer together.")
]
OfflineOption = Annotated[bool | None, Option("--offline", help="Use what is on this machine; never ask the network.")]
DryRunOption = Annotated[bool, Option("--dry-run", help="Say what would be done, and do nothing.")]
