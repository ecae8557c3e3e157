"""/v1/responses, asked by OpenAI's own client of a running server."""

from typing import Any

from unillm.runtime.engine import Engine
from unillm.runtime.params import SamplingParams
from unillm.tests.support.serving import Serving

GREEDY = SamplingParams(temperature=0, max_tokens=12)


def asked(server: Serving, **more: Any) -> dict[str, Any]:
    return {"model": server.model, "input": "Hi", "temperature": 0, "max_output_tokens": 12, **more}


def test_text_and_items_are_answered_as_the_engine_answers(client: Any, server: Serving, engine: Engine) -> None:
    here = engine.chat([{"role": "system", "content": "Be"}, {"role": "user", "content": "Hi"}], GREEDY)
    items = [
        {"role": "developer", "content": [{"type": "input_text", "text": "Be"}]},
        {"role": "user", "content": "Hi", "type": "message"},
    ]
    for told in (
        client.responses.create(**asked(server, instructions="Be")),
        client.responses.create(**asked(server, input=items)),
    ):
        assert told.output_text == here.text
        assert told.usage is not None
        assert (told.usage.input_tokens, told.usage.output_tokens) == (here.usage.prompt_tokens, 12)
        assert (told.status, told.incomplete_details and told.incomplete_details.reason) == (
            "incomplete",
            "max_output_tokens",
        )


def test_the_events_come_in_order_and_numbered(client: Any, server: Serving) -> None:
    whole = client.responses.create(**asked(server))
    events = list(client.responses.create(**asked(server), stream=True))
    kinds = [event.type for event in events]
    deltas = kinds.count("response.output_text.delta")
    assert kinds == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        *["response.output_text.delta"] * deltas,
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.incomplete",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == whole.output_text
    last = events[-1]
    assert last.type == "response.incomplete"
    assert last.response.output_text == whole.output_text
    assert last.response.usage == whole.usage


def test_an_answer_that_ends_by_itself_is_completed(client: Any, server: Serving) -> None:
    text = client.responses.create(**asked(server)).output_text
    more = {"extra_body": {"stop": text[4]}}
    assert client.responses.create(**asked(server), **more).status == "completed"
    kinds = [event.type for event in client.responses.create(**asked(server), **more, stream=True)]
    assert kinds[-1] == "response.completed"


def test_the_clients_own_stream_gathers_the_response(client: Any, server: Serving) -> None:
    text = client.responses.create(**asked(server)).output_text
    with client.responses.stream(**asked(server), extra_body={"stop": text[4]}) as stream:
        for _ in stream:
            pass
        told = stream.get_final_response()
    assert told.output_text == text[: text.index(text[4])]


def test_scores_come_where_they_are_included(client: Any, server: Serving) -> None:
    told = client.responses.create(**asked(server, include=["message.output_text.logprobs"], top_logprobs=2))
    part: Any = told.output[0].content[0]
    assert len(part.logprobs) == 12
    assert all(len(one.top_logprobs) == 2 for one in part.logprobs)
    assert client.responses.create(**asked(server)).output[0].content[0].logprobs == []


def test_what_an_earlier_response_said_can_be_sent_again(client: Any, server: Serving) -> None:
    first = client.responses.create(**asked(server, metadata={"a": "b"}))
    assert first.metadata == {"a": "b"}
    again: Any = [{"role": "user", "content": "Hi"}, *(item.model_dump() for item in first.output)]
    assert client.responses.create(**asked(server, input=[*again, {"role": "user", "content": "More"}])).id != first.id


def test_the_oldest_messages_go_only_where_that_was_asked_and_the_response_says_so(
    client: Any, server: Serving
) -> None:
    long: Any = [{"role": "user", "content": "word " * 90}, {"role": "user", "content": "word " * 90}]
    told = client.responses.create(**asked(server, input=long, truncation="auto", max_output_tokens=4))
    assert told.usage is not None
    left_out: Any = told.usage.input_tokens_details
    assert left_out.truncated_tokens > 450
    assert told.usage.input_tokens < 512
