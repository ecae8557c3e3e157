"""Every option and argument that commands share, named once. A command's signature is its documentation.

The metavar says what a shell completes: MODEL an installed model or a catalogue name, PATH a file.
"""

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from typer import Argument, Option

from .settings import KVDtype, PrefixCache

Dtype: TypeAlias = Literal["auto", "float32", "float16", "bfloat16"]
Effort: TypeAlias = Literal["low", "medium", "high"]

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
OptionalModelArgument = Annotated[str | None, Argument(metavar="MODEL", help="The model's name.", show_default=False)]
ModelsArgument = Annotated[list[str], Argument(metavar="MODEL", help="The models' names.")]

AnyModelsArgument = Annotated[
    list[str] | None, Argument(metavar="MODEL", help="The models' names; none: all of them.", show_default=False)
]
PrefixArgument = Annotated[str | None, Argument(metavar="MODEL", help="Only names that begin so.", show_default=False)]
NewNameArgument = Annotated[str, Argument(metavar="NAME", help="Its other name.")]
NameOption = Annotated[str | None, Option("--name", metavar="NAME", help="What the model is called here.")]
ArchitecturesOption = Annotated[bool, Option("--architectures", help="List the architectures that run.")]
TemplateOption = Annotated[bool, Option("--template", help="Print the chat template and nothing else.")]
ModelfileTextOption = Annotated[bool, Option("--modelfile", help="Print a Modelfile for the same model.")]
ParametersOption = Annotated[bool, Option("--parameters", help="Print the parameters that the model chooses.")]
SystemTextOption = Annotated[bool, Option("--system", help="Print the system message.")]
LicenceOption = Annotated[bool, Option("--license", help="Print the licence.")]

DeviceOption = Annotated[
    str | None, Option("--device", metavar="DEVICE", help="Where it runs: auto, cpu, cuda, cuda:1 or mps.")
]
DtypeOption = Annotated[Dtype | None, Option("--dtype", help="What it computes in.")]
ExactOption = Annotated[
    bool | None,
    Option("--exact", help="Multiply quantised weights with activations as they are, not rounded to 8 bits: slower."),
]
DraftOption = Annotated[
    str | None,
    Option(
        "--draft",
        metavar="MODEL",
        help="What guesses ahead, for speed alone: a smaller model of the same family, ngram or off.",
    ),
]
ContextOption = Annotated[
    int | None, Option("--context", metavar="TOKENS", min=1, help="The longest prompt and answer together.")
]
KVDtypeOption = Annotated[
    KVDtype | None,
    Option("--kv-dtype", help="What keys and values are kept in: int8 and fp8 take a quarter of fp32's memory."),
]
PrefixCacheOption = Annotated[
    PrefixCache | None, Option("--prefix-cache", help="How prompts share what they begin with.")
]
AttentionBackendOption = Annotated[
    str | None,
    Option(
        "--attention-backend",
        metavar="NAME[,NAME]",
        help="What attends, for prompts and for single tokens: eager, sdpa, triton, flash-attn, flashinfer or auto.",
    ),
]
MaxBatchTokensOption = Annotated[
    int | None, Option("--max-batch-tokens", metavar="N", min=2, help="Compute at most so many tokens at once.")
]
MaxRunningOption = Annotated[
    int | None, Option("--max-running", metavar="N", min=1, help="Answer at most so many requests at once.")
]
OfflineOption = Annotated[bool | None, Option("--offline", help="Use what is on this machine; never ask the network.")]
LimitRateOption = Annotated[
    str | None, Option("--limit-rate", metavar="RATE", help="Download at most so many bytes a second, as in 5M.")
]
DryRunOption = Annotated[bool, Option("--dry-run", help="Say what would be done, and do nothing.")]
NewModelArgument = Annotated[str, Argument(metavar="NAME", help="What the new model is called.")]
ModelfileOption = Annotated[Path, Option("--file", "-f", metavar="PATH", help="The Modelfile.")]
ArchiveArgument = Annotated[Path, Argument(metavar="PATH", help="The archive.")]
LockFileOption = Annotated[Path, Option("--file", "-f", metavar="PATH", help="The lock file.")]
OllamaOption = Annotated[bool, Option("--ollama", help="List the models in Ollama's store instead.")]
ConfigArgument = Annotated[Literal["show"], Argument(metavar="show", help="What to do with the settings: show.")]
OriginOption = Annotated[bool, Option("--origin", help="Tell where each was set.")]
QueryArgument = Annotated[list[str], Argument(metavar="WORDS", help="What the name has, or its maker's.")]
LimitOption = Annotated[int, Option("--limit", metavar="N", min=1, max=100, help="List at most so many models.")]
PulledArgument = Annotated[list[str] | None, Argument(metavar="MODEL", help="The models' names.", show_default=False)]
AllOption = Annotated[bool, Option("--all", help="Bring every installed model up to date.")]
OutdatedOption = Annotated[bool, Option("--outdated", help="List those that the hub has in a newer version.")]
PartialOption = Annotated[bool, Option("--partial", help="Remove what unfinished downloads have left, too.")]

HostOption = Annotated[
    str | None,
    Option("--host", metavar="ADDRESS", help="The server that is asked; else UNILLM_HOST, else 127.0.0.1:8080."),
]
LocalOption = Annotated[
    bool, Option("--local", help="Load the model in this process, even where a server runs that could answer.")
]

WordsArgument = Annotated[
    list[str] | None, Argument(metavar="PROMPT", help="The prompt's words; - alone reads standard input.")
]
ContinueOption = Annotated[bool, Option("--continue", help="Go on with the last conversation.")]
ResumeOption = Annotated[
    str | None, Option("--resume", metavar="ID", help="Go on with this conversation; unillm history lists them.")
]
HistoryArgument = Annotated[
    Literal["list", "show", "rm"], Argument(metavar="list|show|rm", help="What to do with conversations.")
]
IdsArgument = Annotated[list[str] | None, Argument(metavar="ID", help="Which conversations.", show_default=False)]
AllKeptOption = Annotated[bool, Option("--all", help="Remove every conversation.")]
PromptOption = Annotated[str | None, Option("--prompt", "-p", metavar="TEXT", help="The prompt.")]
SystemOption = Annotated[str | None, Option("--system", "-s", metavar="TEXT", help="The system message before it.")]
RawOption = Annotated[bool, Option("--raw", help="Continue the prompt as plain text, without a chat template.")]
VerboseOption = Annotated[bool, Option("--verbose", "-v", help="Tell how long everything took.")]

ThinkOption = Annotated[
    bool | None, Option("--think/--no-think", help="Have the model think before it speaks, or not.", show_default=False)
]
EffortOption = Annotated[Effort | None, Option("--effort", help="How hard it thinks, where it can be told.")]
HideThinkingOption = Annotated[bool, Option("--hide-thinking", help="Do not show what the model thinks.")]

MaxTokensOption = Annotated[int | None, Option("--max-tokens", "-n", metavar="N", help="Stop after so many tokens.")]
TemperatureOption = Annotated[
    float | None, Option("--temperature", "-t", metavar="X", help="How freely tokens are chosen; 0: the likeliest.")
]
TopKOption = Annotated[int | None, Option("--top-k", metavar="N", help="Choose among the N likeliest tokens.")]
TopPOption = Annotated[
    float | None, Option("--top-p", metavar="X", help="Choose among the likeliest tokens that share X of 1.")
]
MinPOption = Annotated[
    float | None, Option("--min-p", metavar="X", help="Choose among tokens at least X times as likely as the first.")
]
TypicalPOption = Annotated[
    float | None, Option("--typical-p", metavar="X", help="Choose among the most typical tokens that share X of 1.")
]
PresencePenaltyOption = Annotated[
    float | None,
    Option("--presence-penalty", metavar="X", help="Take X from the score of every token that the answer has used."),
]
FrequencyPenaltyOption = Annotated[
    float | None,
    Option("--frequency-penalty", metavar="X", help="Take X from a token's score for each time that it was used."),
]
LogitBiasOption = Annotated[
    list[str] | None,
    Option("--logit-bias", metavar="ID=X", help="Add X to the score of the token ID; may be given again."),
]
RepetitionPenaltyOption = Annotated[
    float | None,
    Option("--repetition-penalty", metavar="X", help="Make tokens that came before less likely; 1: do not."),
]
SeedOption = Annotated[int | None, Option("--seed", metavar="N", help="The same seed gives the same answer.")]
StopOption = Annotated[
    list[str] | None, Option("--stop", metavar="TEXT", help="End the answer before this text; may be given again.")
]

SchemaOption = Annotated[
    str | None, Option("--schema", metavar="PATH", help="Answer in JSON of the schema in this file; or the schema.")
]
RegexOption = Annotated[
    str | None, Option("--regex", metavar="PATTERN", help="Answer with what this regular expression matches.")
]
ChoiceOption = Annotated[
    list[str] | None, Option("--choice", metavar="TEXT", help="Answer with this text or another one that is given so.")
]
GrammarOption = Annotated[
    Path | None, Option("--grammar", metavar="PATH", help="Answer by the grammar in this file: Lark or GBNF.")
]

PromptTokensOption = Annotated[
    int, Option("--prompt-tokens", metavar="N", min=1, help="The length of the prompt that is read.")
]
ThroughputOption = Annotated[
    str | None,
    Option(
        "--throughput",
        metavar="SHAPE",
        help="Only this: 256 random requests at once, with random weights of that shape: qwen3-0.6b.",
    ),
]
AnswerTokensOption = Annotated[
    int, Option("--answer-tokens", metavar="N", min=2, help="The length of the answers that are made.")
]
BatchOption = Annotated[
    int, Option("--batch", metavar="N", min=1, help="How many requests run at once in the batch test.")
]
RunsOption = Annotated[int, Option("--runs", metavar="N", min=1, help="How many runs of each test count.")]

UrlOption = Annotated[
    str | None, Option("--url", metavar="URL", help="The server, as its clients are told: http://127.0.0.1:8080/v1.")
]
RequestsOption = Annotated[int, Option("--requests", metavar="N", min=1, help="How many requests there are in all.")]
ConcurrencyOption = Annotated[
    int, Option("--concurrency", metavar="N", min=1, help="How many requests are under way at once, at most.")
]
RateOption = Annotated[
    float | None, Option("--rate", metavar="X", min=0.001, help="Requests come one by one, X a second on average.")
]
ChatOption = Annotated[bool, Option("--chat", help="Ask for conversations, where a server continues no plain text.")]
AskedKeyOption = Annotated[str | None, Option("--api-key", metavar="KEY", help="The key that the server wants.")]

SyntheticOption = Annotated[
    str | None,
    Option("--synthetic", metavar="SHAPE", help="Make a model of that shape with random weights: qwen3-0.6b."),
]
KindOption = Annotated[str, Option("--kind", metavar="KIND", help="How the weights of --synthetic are quantised.")]
TestsOption = Annotated[
    list[str] | None,
    Option("--test", metavar="TEST", help="Only this test: decode, prompt-512, served-32 ...; may be given again."),
]
PeersOption = Annotated[
    list[str] | None, Option("--peer", metavar="NAME", help="Only beside this program; may be given again.")
]
RoundsOption = Annotated[int, Option("--rounds", metavar="N", min=1, help="How often each side runs each test.")]
ThreadsOption = Annotated[int | None, Option("--threads", metavar="N", min=1, help="How many cores it may use.")]
BuildPeersOption = Annotated[bool, Option("--build-peers", help="Fetch llama.cpp's sources and build them, once.")]
ProgramsOption = Annotated[
    Path | None, Option("--llama-cpp", metavar="FOLDER", help="Where llama.cpp's programs are, if not on the PATH.")
]

QuantizeOption = Annotated[
    str | None, Option("--quantize", metavar="KIND", help="Pack plain weights as they load: q8_0, q4_0, q4_k or int8.")
]
MixtureOption = Annotated[
    str, Option("--to", metavar="KIND", help="q8_0, q6_k, q5_k_m, q4_k_m, q4_0 ..., or f16 and bf16: not packed.")
]
OutOption = Annotated[
    Path | None,
    Option("--out", "-o", metavar="PATH", help="The file that is written; by default it is named after the model."),
]

CompletedArgument = Annotated[str, Argument(metavar="WHAT", help="What is completed: models.")]
