"""What /metrics tells, as Prometheus itself would read it."""

from prometheus_client.parser import text_string_to_metric_families

from unillm.runtime.hosting.asking import Piece
from unillm.runtime.hosting.measures import Measures
from unillm.runtime.results import Timings, Usage
from unillm.runtime.server.exposition import exposed


def _measures() -> dict[str, Measures]:
    measures = Measures()
    timings = Timings(queued=0.02, first_token=0.3, total=1.3, prompt_tokens_per_second=1, tokens_per_second=1)
    measures.note(Piece(finish_reason="stop", usage=Usage(5, 11, 0), timings=timings))
    measures.note(Piece(finish_reason="error"))
    return {'a"b\\c\nd': measures}


def test_what_only_grows_is_a_counter_and_the_rest_are_gauges() -> None:
    numbers: dict[str, dict[str, float]] = {
        "": {"requests": 3.0},
        "m": {"prompt_tokens": 10, "cached_tokens": 4, "waiting": 2, "kv_bytes": 1 << 40},
    }
    families = {one.name: one for one in text_string_to_metric_families(exposed(numbers, {}))}
    assert {name: one.type for name, one in families.items()} == {
        "unillm_requests": "counter",
        "unillm_prompt_tokens": "counter",
        "unillm_cached_tokens": "counter",
        "unillm_waiting": "gauge",
        "unillm_kv_bytes": "gauge",
        "unillm_hit_ratio": "gauge",
    }
    assert families["unillm_kv_bytes"].samples[0].value == 1 << 40
    assert families["unillm_hit_ratio"].samples[0].value == 0.4


def test_latencies_are_histograms_by_model() -> None:
    families = {one.name: one for one in text_string_to_metric_families(exposed({}, _measures()))}
    waited = families["unillm_time_per_output_token_seconds"]
    assert waited.type == "histogram"
    buckets = {one.labels["le"]: one.value for one in waited.samples if one.name.endswith("_bucket")}
    assert (buckets["0.075"], buckets["0.15"], buckets["+Inf"]) == (0, 1, 1)
    assert {one.labels["model"] for one in waited.samples} == {'a"b\\c\nd'}
    ended = {one.labels["reason"]: one.value for one in families["unillm_answers"].samples}
    assert ended == {"stop": 1, "error": 1}
