"""How much of a file its reader believes: every limit in one place, each named in the message that it causes.

They bound time and memory whatever a file says of itself, and lie well above what any published model has.
"""

MAX_HEADER = 100_000_000  # bytes of a safetensors header; the format's own limit
MAX_GGUF_HEADER = 64_000_000  # bytes before the first tensor; 262 000 tokens with their merges take 16 million
MAX_TEXT = 16_000_000  # bytes of all names and strings of one header; the same vocabulary has 7.5 million
MAX_STRING = 16_000_000  # bytes of one string
MAX_NAME = 65_535  # bytes of a key or a tensor's name; GGUF's own limit
MAX_TENSORS = 65_536
MAX_KEYS = 65_536
MAX_INDEX = 262_144  # tensors of all files of one model
MAX_ARRAY = 16_777_216  # numbers in one array
MAX_ITEMS = 1_048_576  # strings and truth values in all arrays of one header
MAX_DIMENSIONS = 64  # torch's own limit
MAX_GGUF_DIMENSIONS = 4
MIN_ALIGNMENT, MAX_ALIGNMENT = 8, 4096
MAX_CONFIG_NUMBERS = 1_048_576  # numbers in all arrays that a configuration keeps
MAX_JSON = 32_000_000  # bytes of an index
MAX_CONFIG = 4_000_000  # bytes of a config.json
MAX_VALUES = 700_000  # keys and values of one JSON text
MAX_DEPTH = 64  # objects within objects
MAX_SHARDS = 4096
MAX_OPCODES = 1_000_000  # of one pickle; a tensor takes about thirty
MAX_MEMBERS = 65_600  # of a zip archive
