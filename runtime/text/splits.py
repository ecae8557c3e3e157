"""How each byte-level vocabulary cuts text into words before it merges them: GGUF's `tokenizer.ggml.pre`, as a table.

A GGUF names the rule but does not hold it, so the rules stand here. Each is the one of the tokenizer that the model was
trained with: patterns applied one behind the other, each cutting what the one before left whole. A name that is not in
the table has no rule, and there is no default: another rule gives other ids, and a model that answers nonsense.
Text is not normalised: no key of the format asks for it, and the ids of llama.cpp are those of text as it stands.
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Split:
    """One rule.

    `patterns` cut text, `spelt` cuts what they left once it is spelt in GPT-2's letters for bytes. `whole_words` takes
    a word that is itself a token without merging; `bos` is whether BOS comes first where the file does not say; `raw`
    means that tokens are text with `▁` for spaces, not letters for bytes.
    """

    patterns: tuple[str, ...]
    spelt: tuple[str, ...] = ()
    whole_words: bool = False
    bos: bool = False
    raw: bool = False


def letters(ranges: str) -> str:
    """The inside of a character class, from code points in hexadecimal."""
    return "".join("-".join(chr(int(end, 16)) for end in span.split("-")) for span in ranges.split())


SPACES = r"\s+(?!\S)|\s+"
LINES = r"\s*[\r\n]+"
SUFFIX = r"'s|'t|'re|'ve|'m|'ll|'d"
ANY_SUFFIX = f"(?i:{SUFFIX})"
WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+"
PUNCTUATION = r" ?[^\s\p{L}\p{N}]+"
DIGIT, THREE_DIGITS = r"\p{N}", r"\p{N}{1,3}"

GPT2 = rf"{SUFFIX}| ?\p{{L}}+| ?\p{{N}}+|{PUNCTUATION}|{SPACES}"
LLAMA3 = rf"{ANY_SUFFIX}|{WORD}|{THREE_DIGITS}|{PUNCTUATION}[\r\n]*|{LINES}|{SPACES}"
QWEN2 = rf"{ANY_SUFFIX}|{WORD}|{DIGIT}|{PUNCTUATION}[\r\n]*|{LINES}|{SPACES}"
QWEN35 = (
    rf"{ANY_SUFFIX}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|{DIGIT}"
    rf"| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{LINES}|{SPACES}"
)
SEED_CODER = rf"{ANY_SUFFIX}|{WORD}|{DIGIT}| ?[^\s\p{{L}}\p{{N}}\r\n]+|{LINES}|{SPACES}"
BAILING = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}"
    rf"| ?[^\s\p{{L}}\p{{N}}]++[\r\n]*|\s*[\r\n]|{SPACES}"
)
EXAONE_MOE = (
    rf"{ANY_SUFFIX}|[^\r\n\p{{L}}\p{{N}}]?(?:\p{{L}}\p{{M}}*(?: \p{{L}}\p{{M}}*)*)+|{DIGIT}"
    rf"|{PUNCTUATION}[\r\n/]?|\s*[\r\n]|{SPACES}"
)
MINICPM5 = (THREE_DIGITS, rf"{ANY_SUFFIX}|{WORD}|\p{{N}}+|{PUNCTUATION}[\r\n]*|{LINES}|{SPACES}")

UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"


def cased(suffix: str, digits: str) -> str:
    """A word is capitals, then small letters, then perhaps `suffix`; `digits` stand together."""
    before = r"[^\r\n\p{L}\p{N}]?"
    words = f"{before}{UPPER}*{LOWER}+{suffix}|{before}{UPPER}+{LOWER}*{suffix}"
    return rf"{words}|{digits}|{PUNCTUATION}[\r\n/]*|{LINES}|{SPACES}"


TEKKEN = cased("", DIGIT)
GPT4O = cased(f"{ANY_SUFFIX}?", THREE_DIGITS)

CASED_LETTERS = letters("""
    41-5a 61-7a b5 c0-d6 d8-f6 f8-1ba 1bc-1bf 1c4-293 295-2af 370-373 376 377 37b-37d 37f 386 388-38a 38c
    38e-3a1 3a3-3f5 3f7-481 48a-52f 531-556 10a0-10c5 13a0-13f5 13f8-13fd 1c90-1cba 1cbd-1cbf 1d00-1d2b
    1d6b-1d77 1d79-1d9a 1e00-1f15 1f18-1f1d 1f20-1f45 1f48-1f4d 1f50-1f57 1f59 1f5b 1f5d 1f5f-1f7d 1f80-1fb4
    1fb6-1fbc 1fbe 1fc2-1fc4 1fc6-1fcc 1fd0-1fd3 1fd6-1fdb 1fe0-1fec 1ff2-1ff4 1ff6-1ffc 2102 2107 210a-2113
    2115 2119-211d 2124 2126 2128 212a-212d 212f-2134 2139 213c-213f 2145-2149 214e 2183 2184 2c00-2c7b
    2c7e-2ce4 2ceb-2cee 2cf2 2cf3 a640-a66d a680-a69b a722-a76f a771-a787 a78b-a78e ab70-abbf fb00-fb06
    fb13-fb17 ff21-ff3a ff41-ff5a 10400-1044f 104b0-104d3 104d8-104fb 10c80-10cb2 10cc0-10cf2 118a0-118df
    1e900-1e943
""")
IDEOGRAPHS_AND_HANGUL = letters("4e00-9fa5 800-4e00 ac00-d7ff")
IDEOGRAPHS_AND_KANA = letters("4e00-9fa5 3040-309f 30a0-30ff")
WIDE_PUNCTUATION = letters("21-2f 3a-7e ff01-ff0f ff1a-ff5e 2018-201f 3000-3002")

DEEPSEEK_LLM = (
    r"[\r\n]",
    rf"\s?[{CASED_LETTERS}]+",
    rf"\s?[{WIDE_PUNCTUATION}]+",
    r"\s+$",
    f"[{IDEOGRAPHS_AND_HANGUL}]+",
    DIGIT,
)
DEEPSEEK_CODER = (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", f"[{IDEOGRAPHS_AND_HANGUL}]+", DIGIT)
DEEPSEEK_V3 = (
    THREE_DIGITS,
    f"[{IDEOGRAPHS_AND_KANA}]+",
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
    rf"| ?[\p{{P}}\p{{S}}]+[\r\n]*|{LINES}|{SPACES}",
)
BLOOM = r" ?[^(\s|.,!?…。，、।۔،)]+"

# What llama.cpp did before files named their rule, and does for those that do not.
UNNAMED = Split((r"[\p{P}$+<=>^~|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"))

_gpt2 = Split((GPT2,))
_digits = Split((DIGIT, GPT2))
_llama3 = Split((LLAMA3,), whole_words=True, bos=True)
_glm = Split((LLAMA3,))
_qwen2 = Split((QWEN2,))
_gpt4o = Split((GPT4O,))
_deepseek_v3 = Split(DEEPSEEK_V3)
_bailing = Split((BAILING,))

SPLITS: dict[str, Split] = {
    "default": UNNAMED,
    "gpt-2": _gpt2,
    "phi-2": _gpt2,
    "mpt": _gpt2,
    "olmo": _gpt2,
    "jais": _gpt2,
    "trillion": _gpt2,
    "granite-docling": _gpt2,
    "gigachat": _gpt2,
    "exaone4": _gpt2,
    "a.x-4.0": _gpt2,
    "mellum": _gpt2,
    "starcoder": _digits,
    "refact": _digits,
    "command-r": _digits,
    "smollm": _digits,
    "codeshell": _digits,
    "exaone": _digits,
    "minerva-7b": _digits,
    "mellum2": _digits,
    "falcon": Split((r"[\p{P}$+<=>^~|`]+", GPT2), spelt=(r"\p{N}+", "[0-9][0-9][0-9]")),
    "llama3": _llama3,
    "llama-v3": _llama3,
    "llama-bpe": _llama3,
    "falcon3": _llama3,
    "falcon-h1": _llama3,
    "pixtral": _llama3,
    "midm-2.0": _llama3,
    "lfm2": _llama3,
    "dbrx": _glm,
    "smaug-bpe": _glm,
    "chatglm-bpe": _glm,
    "glm4": replace(_glm, whole_words=True),
    "glm5": replace(_glm, whole_words=True),
    "qwen2": _qwen2,
    "deepseek-r1-qwen": _qwen2,
    "kormo": _qwen2,
    "stablelm2": _qwen2,
    "megrez": _qwen2,
    "hunyuan": _qwen2,
    "solar-open": _qwen2,
    "grok-2": _qwen2,
    "qwen35": Split((QWEN35,)),
    "tekken": Split((TEKKEN,), whole_words=True, bos=True),
    "gpt-4o": _gpt4o,
    "llama4": _gpt4o,
    "kanana2": _gpt4o,
    "talkie": _gpt4o,
    "minimax-m2": _gpt4o,
    "deepseek-llm": Split(DEEPSEEK_LLM),
    "deepseek-coder": Split(DEEPSEEK_CODER),
    "deepseek-v3": _deepseek_v3,
    "hunyuan-dense": _deepseek_v3,
    "hy_v4": _deepseek_v3,
    "joyai-llm": _deepseek_v3,
    "bailingmoe": _bailing,
    "bailingmoe2": _bailing,
    "llada-moe": _bailing,
    "seed-coder": Split((SEED_CODER,)),
    "exaone-moe": Split((EXAONE_MOE,)),
    "minicpm5": Split(MINICPM5, whole_words=True),
    "poro-chat": Split((BLOOM,)),
    "bloom": Split((BLOOM,)),
    "gpt3-finnish": Split((BLOOM,)),
    "viking": Split((BLOOM, DIGIT)),
    "gemma4": Split((r"[^\n]+|\n+",), bos=True, raw=True),
}
