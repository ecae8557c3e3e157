"""The numbers and texts that bodies may hold, as types: what a body's type says is checked when it is read.

Every number stays within what all processes of a server can pass on.
"""

from typing import Annotated, Any, TypeAlias

from msgspec import Meta

Token = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Count = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Positive = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Answers = Annotated[int, Meta(ge=1, le=128)]  # of one prompt
Seed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Priority = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
TopK = Annotated[int, Meta(ge=-1, le=2**31 - 1)]  # 0 and -1: no limit
Share = Annotated[float, Meta(ge=0, le=1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Bias = Annotated[float, Meta(ge=-100, le=100)]
Temperature = Annotated[float, Meta(ge=0)]
Above = Annotated[float, Meta(gt=0)]
Alternatives = Annotated[int, Meta(ge=0, le=20)]  # beside each token

# A stop string is looked for at every place of an answer, with all of its beginnings.
Stop = Annotated[str, Meta(min_length=1, max_length=256)]
Stops = Annotated[list[Stop], Meta(max_length=64)]
Tokens = Annotated[list[Token], Meta(min_length=1)]

# What an answer must look like; what is in it is read where it is compiled.
Schema: TypeAlias = dict[str, Any]
Choices = Annotated[list[str], Meta(min_length=1)]

# A field that clients may send as long as it asks for nothing.
Nothing: TypeAlias = None
NoItems = Annotated[list[Any], Meta(max_length=0)]
