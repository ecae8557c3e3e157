"""Text to token ids and back, whatever files the tokenizer came in.

Knows neither models nor requests. One object may be used by several threads at once.
"""

import re
from collections.abc import Iterable, Iterator, Mapping

from ...registry.files import ModelFiles
from ...registry.formats.gguf import read_gguf
from .bare_vocabulary import read_bare_vocabulary
from .errors import TokenizerFault
from .gguf_vocabulary import read_vocabulary
from .panics import guarded
from .pieces import Pieces
from .quoting import Quoting, keep_marks, read_quoted
from .tokenizer_file import read_tokenizer_file
from .vocabulary import Vocabulary

# Cutting a text this long in one call is faster by the path that keeps no offsets; for short ones that path costs more.
LONG = 65_536

# Tokens that are not marked special in every file, but are the bones of a conversation all the same: <|user|>.
MARKER = re.compile(r"<[|｜].*[|｜]>", re.DOTALL)


def load_tokenizer(files: ModelFiles) -> "Tokenizer | None":
    """The tokenizer of a model, or None where its files hold none."""
    vocabulary = None
    if files.format == "gguf":
        vocabulary = read_vocabulary(read_gguf(files.weights).metadata, files.weights[0].name)
    if vocabulary is None and "tokenizer.json" in files.files:
        vocabulary = read_tokenizer_file(files)
    if vocabulary is None:
        vocabulary = read_bare_vocabulary(files)
    return None if vocabulary is None else Tokenizer(vocabulary)


class Tokenizer:
    """What a model reads and writes, as text. The tokens of `steering` steer the model, and are never meant as text."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        """Takes over the vocabulary's pipeline."""
        self._vocabulary = vocabulary
        self._pipeline = vocabulary.pipeline
        read_quoted(self._pipeline)
        special = (vocabulary.tokens[token] for token in vocabulary.special)
        self._steering = frozenset([*special, *filter(MARKER.fullmatch, vocabulary.added)])
        marks = (token for name, token in vocabulary.added.items() if name in self._steering)
        self.steering = vocabulary.special.union(marks)
        unknown = vocabulary.added.get(vocabulary.roles.get("unk_token", ""))  # which any text may hold
        self._never_text = vocabulary.special - {unknown}
        self._quotings: dict[frozenset[str], Quoting] = {}

    @property
    def vocab_size(self) -> int:
        """How many ids there are, those without a token included."""
        return len(self._vocabulary.tokens)

    @property
    def tokens(self) -> tuple[str, ...]:
        """The names of all ids, as the files spell them."""
        return self._vocabulary.tokens

    @property
    def bos_id(self) -> int | None:
        return self._vocabulary.bos_id

    @property
    def eos_ids(self) -> frozenset[int]:
        """Every token that the files say ends an answer."""
        return self._vocabulary.eos_ids

    @property
    def special_tokens(self) -> Mapping[str, str]:
        """The tokens that templates know by a name: bos_token, eos_token ..."""
        return self._vocabulary.roles

    @property
    def added_tokens(self) -> Mapping[str, int]:
        """The tokens that are found in text before it is cut, special or not."""
        return self._vocabulary.added

    @property
    def pieces(self) -> Pieces | None:
        """The bytes of each token, or None where text is not simply their sum."""
        return self._vocabulary.pieces

    @property
    def note(self) -> str | None:
        """What a person should know of this tokenizer, if there is anything."""
        return self._vocabulary.note

    def is_special(self, token: int) -> bool:
        """Whether a token steers the model and is no text."""
        return token in self._vocabulary.special

    def encode(self, text: str, *, special: bool = False, bos: bool | None = None) -> list[int]:
        """The ids of `text`. Unless `special`, a special token's name in it is text like any other.

        `bos` None puts in front and behind what this tokenizer puts there; True a BOS in front; False nothing. A BOS
        that the text begins with is not put twice. What is no character (a lone surrogate) is read as U+FFFD.
        """
        text = without_surrogates(text)
        if special:
            return self._within(self._ids(keep_marks(text)), bos)
        quoted = self.quoting().quote(text)
        ids = self._ids(quoted)
        if quoted != text and not self._never_text.isdisjoint(ids):
            raise TokenizerFault(self._vocabulary.source, "encode", "cannot write the names of its tokens as text")
        return self._within(ids, bos)

    def quoting(self, others: Iterable[str] = ()) -> Quoting:
        """A way to quote the names of tokens that steer, and of `others`, in text for `encode_quoted`."""
        names = self._steering.union(others)
        if names not in self._quotings:
            try:
                self._quotings[names] = Quoting(names)
            except RecursionError as error:
                reason = "has names made to be slow to find"
                raise TokenizerFault(self._vocabulary.source, "added_tokens", reason) from error
        return self._quotings[names]

    def encode_quoted(self, text: str) -> list[int]:
        """The ids of text in which what is to stay text is quoted; nothing is put around it."""
        return self._ids(without_surrogates(text))

    def decode(self, ids: Iterable[int], *, skip_special: bool = True) -> str:
        """The text of `ids`. Bytes that are no character become U+FFFD."""
        if self.pieces is None:
            return self._decode_by_rule(list(ids), skip_special)
        text = b"".join(self.spelt(ids, skip_special=skip_special)).decode(errors="replace")
        return drop_leading(text, self.pieces.leading)

    def spelt(self, ids: Iterable[int], *, skip_special: bool = True) -> Iterator[bytes]:
        """The bytes of each of `ids`, where tokens stand for bytes; ids that are no token have none."""
        pieces = self._vocabulary.pieces
        if pieces is not None:
            hidden = self._vocabulary.special if skip_special else ()
            count = len(pieces.of)
            yield from (pieces.of[token] for token in ids if 0 <= token < count and token not in hidden)

    def token(self, token: int) -> str:
        """The text of one token; of a part of a character, U+FFFD."""
        if self.pieces is None:
            return self._decode_by_rule([token], False)
        return b"".join(self.spelt([token], skip_special=False)).decode(errors="replace")

    def data(self, token: int) -> bytes | None:
        """The bytes of one token; None of a part of a character where tokens do not stand for bytes."""
        if self.pieces is not None:
            return b"".join(self.spelt([token], skip_special=False))
        text = self.token(token)
        return None if "\ufffd" in text else text.encode()

    def _decode_by_rule(self, ids: list[int], skip_special: bool) -> str:
        return guarded(
            self._vocabulary.source, "decode", lambda: self._pipeline.decode(ids, skip_special_tokens=skip_special)
        )

    def _ids(self, text: str) -> list[int]:
        return guarded(self._vocabulary.source, "encode", lambda: self._cut(text))

    def _cut(self, text: str) -> list[int]:
        if len(text) < LONG:
            return self._pipeline.encode(text, add_special_tokens=False).ids
        return self._pipeline.encode_batch_fast([text], add_special_tokens=False)[0].ids

    def _within(self, ids: list[int], bos: bool | None) -> list[int]:
        """`ids` with what belongs around them, unless it is there already."""
        front, back = (self._vocabulary.before, self._vocabulary.after) if bos is None else ((), ())
        if bos:
            front = self._bos()
        first = [] if tuple(ids[: len(front)]) == front else list(front)
        last = [] if back and tuple(ids[-len(back) :]) == back else list(back)
        return first + ids + last

    def _bos(self) -> tuple[int, ...]:
        if self.bos_id is None:
            raise TokenizerFault(self._vocabulary.source, "bos", "this tokenizer has no token that begins a text")
        return (self.bos_id,)


def without_surrogates(text: str) -> str:
    """`text` with halves of characters joined, or replaced where the other half is missing."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def drop_leading(text: str, spaces: int) -> str:
    """`text` less at most `spaces` spaces in front."""
    return text[min(len(text) - len(text.lstrip(" ")), spaces) :]
