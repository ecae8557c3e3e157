"""Numbers in the text format of Prometheus: what only grows is a counter, what is measured a histogram.

Names follow its conventions: counters end in _total, sizes say their unit.
"""

from collections.abc import Iterator, Mapping

from ..hosting.measures import Histogram, Measures

Numbers = Mapping[str, Mapping[str, float]]

# What grows, by the names that the host has for it, and what is told of it.
COUNTERS = {
    "requests": "Requests for an answer.",
    "refused": "Requests that found no place in line.",
    "loads": "Models that began to be loaded.",
    "crashes": "Engines that ended unasked.",
    "text_deaths": "Text processes that ended unasked.",
    "steps": "Steps that the engine computed.",
    "prompt_tokens": "Tokens of prompts.",
    "cached_tokens": "Tokens of prompts that the prefix cache had.",
    "completion_tokens": "Tokens answered.",
    "gave_way": "Sequences that left their pages to others.",
    "evicted_pages": "Pages taken from the prefix cache for others.",
    "proposed": "Tokens guessed ahead.",
    "accepted": "Guessed tokens that the model then chose.",
    "swapped_out": "Sequences whose pages were saved when they gave way.",
    "swapped_in": "Sequences that got saved pages back.",
}
GAUGES = {
    "models": "Models loaded or being loaded.",
    "memory_bytes": "Memory for models.",
    "memory_reserved_bytes": "Memory that models have reserved.",
    "waiting": "Requests that wait in the engine.",
    "running": "Requests that are computed.",
    "context": "Tokens that a request may have.",
    "page_size": "Tokens of a page.",
    "pages": "Pages of the cache.",
    "free_pages": "Pages that nobody has.",
    "cached_pages": "Pages of the prefix cache.",
    "sequence_pages": "Pages that running requests own.",
    "kv_bytes": "Memory that pages take now.",
    "kv_budget": "Memory that pages may take.",
    "slabs": "Blocks that pages come in.",
    "swap_bytes": "Memory that saved pages take.",
    "hit_ratio": "Of all tokens of prompts the share that the prefix cache had.",
    "stalled_seconds": "For how long work has waited for a step to end.",
}
_MEASURED = {
    "queue_seconds": "From a request to its first computation.",
    "time_to_first_token_seconds": "From a request to its first token.",
    "time_per_output_token_seconds": "From token to token.",
    "request_seconds": "From a request to its end.",
    "load_seconds": "From a model's wanted to its loaded.",
}


def exposed(numbers: Numbers, measures: Mapping[str, Measures]) -> str:
    """Everything there is to tell."""
    told = {model: {**values, **_derived(values)} for model, values in numbers.items()}
    lines = [*_plain(told, COUNTERS, "counter", "_total"), *_plain(told, GAUGES, "gauge", "")]
    return "\n".join([*lines, *_ended(measures), *_histograms(measures), ""])


def _derived(values: Mapping[str, float]) -> Mapping[str, float]:
    prompt = values.get("prompt_tokens", 0)
    return {"hit_ratio": values["cached_tokens"] / prompt} if prompt else {}


def _plain(numbers: Numbers, names: Mapping[str, str], kind: str, ending: str) -> Iterator[str]:
    for name, told in names.items():
        found = [(model, values[name]) for model, values in numbers.items() if name in values]
        if found:
            yield from _headed(f"unillm_{name}{ending}", kind, told)
        for model, value in found:
            yield f"unillm_{name}{ending}{_labels(model=model)} {_number(value)}"


def _ended(measures: Mapping[str, Measures]) -> Iterator[str]:
    if measures:
        yield from _headed("unillm_answers_total", "counter", "Answers, by how they ended.")
    for model, measured in measures.items():
        for reason, count in measured.ended.items():
            yield f"unillm_answers_total{_labels(model=model, reason=reason)} {count}"


def _histograms(measures: Mapping[str, Measures]) -> Iterator[str]:
    for name, told in _MEASURED.items() if measures else ():
        yield from _headed(f"unillm_{name}", "histogram", told)
        for model, measured in measures.items():
            yield from _spread(f"unillm_{name}", model, measured.histograms()[name])


def _spread(name: str, model: str, histogram: Histogram) -> Iterator[str]:
    below = 0
    for bound, count in zip([*map(_number, histogram.bounds), "+Inf"], histogram.counts, strict=True):
        below += count
        yield f"{name}_bucket{_labels(model=model, le=bound)} {below}"
    yield f"{name}_sum{_labels(model=model)} {_number(histogram.sum)}"
    yield f"{name}_count{_labels(model=model)} {below}"


def _headed(name: str, kind: str, told: str) -> Iterator[str]:
    yield f"# HELP {name} {told}"
    yield f"# TYPE {name} {kind}"


def _labels(**labels: str) -> str:
    pairs = [f'{name}="{_escaped(value)}"' for name, value in labels.items() if value]
    return f"{{{','.join(pairs)}}}" if pairs else ""


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
