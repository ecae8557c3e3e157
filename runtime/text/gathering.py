"""The last step that all readers of a bare vocabulary share: its pipeline and the files around it, made a Vocabulary.

A tokenizer.json says itself what goes around a text; a SentencePiece model, a list of ranks and a tekken.json do not,
so that is decided here from tokenizer_config.json and, where there is none, from what the kind always does.
"""

from collections.abc import Callable, Collection, Mapping, Sequence

from tokenizers import Tokenizer as Pipeline

from ...registry.files import ModelFiles
from .ends import stated_ends
from .pieces import Pieces
from .tokenizer_config import TokenizerConfig, add_named, in_order
from .vocabulary import Vocabulary

Spelling = Callable[[Sequence[str], Collection[int]], tuple[bytes, ...]]


def gather(
    files: ModelFiles,
    source: str,
    pipeline: Pipeline,
    roles: Mapping[str, str],
    spell: Spelling,
    *,
    leading: int = 0,
    ends: Collection[str] = (),
) -> Vocabulary:
    """The vocabulary of `pipeline`; `roles` are those that its own file knows, a configuration beside it goes before.

    `ends` name the tokens that end an answer besides EOS. A BOS comes in front and no EOS behind, unless the
    configuration says otherwise.
    """
    config = TokenizerConfig.read(files)
    add_named(pipeline, config, source)
    tokens = in_order(pipeline.get_vocab(with_added_tokens=True), source)
    ids = {text: token for token, text in enumerate(tokens) if text}
    found = pipeline.get_added_tokens_decoder()
    named = {role: text for role, text in {**roles, **config.roles}.items() if text in ids}
    bos, eos = (_id(named, role, ids) for role in ("bos_token", "eos_token"))
    return Vocabulary(
        source=source,
        pipeline=pipeline,
        tokens=tokens,
        pieces=Pieces(spell(tokens, frozenset(found)), leading),
        added={token.content: id_ for id_, token in found.items()},
        special=frozenset(id_ for id_, token in found.items() if token.special),
        roles=named,
        bos_id=bos[0] if bos else None,
        eos_ids=frozenset([*eos, *(ids[name] for name in ends)]) | stated_ends(files),
        before=bos if config.bos is not False else (),
        after=eos if config.eos else (),
    )


def _id(roles: Mapping[str, str], role: str, ids: Mapping[str, int]) -> tuple[int, ...]:
    return (ids[roles[role]],) if role in roles else ()
