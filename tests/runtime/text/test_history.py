"""Earlier calls of tools, as clients write them and as templates expect them."""

from typing import Any

import pytest

from unillm.runtime.errors import InvalidPrompt
from unillm.runtime.text.answers.mistral import with_short_ids
from unillm.runtime.text.answers.phi import with_tools
from unillm.runtime.text.history import with_calls


def called(arguments: Any, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "tool_calls": [{**more, "function": {"name": "f", "arguments": arguments}}]}


def test_arguments_are_a_mapping_or_text_as_the_template_wants_them() -> None:
    for given in ('{"x": 1}', {"x": 1}):
        (mapped,), (spelt,) = with_calls([called(given)]), with_calls([called(given)], as_text=True)
        assert mapped["tool_calls"][0]["function"]["arguments"] == {"x": 1}
        assert spelt["tool_calls"][0]["function"]["arguments"] == '{"x": 1}'
        assert mapped["content"] == ""
    assert with_calls([called("no JSON")])[0]["tool_calls"][0]["function"]["arguments"] == "no JSON"


def test_a_result_knows_the_name_and_the_id_of_its_call() -> None:
    _, by_id = with_calls([called({}, id="a"), {"role": "tool", "content": "1", "tool_call_id": "a"}])
    _, by_name = with_calls([called({}, id="a"), {"role": "tool", "content": "1", "tool_name": "f"}])
    _, by_order = with_calls([called({}, id="a"), {"role": "tool", "content": "1"}])
    assert all((one["tool_call_id"], one["name"]) == ("a", "f") for one in (by_id, by_name, by_order))


def test_a_call_without_an_id_gets_one_that_its_result_has_too() -> None:
    first, one, second, other = with_calls([called({}), {"role": "tool"}, called({}), {"role": "tool"}])
    assert [first["tool_calls"][0]["id"], second["tool_calls"][0]["id"]] == [one["tool_call_id"], other["tool_call_id"]]
    assert one["tool_call_id"] != other["tool_call_id"]


@pytest.mark.parametrize("calls", ["f", [1], [{"function": {"arguments": {}}}], [{"function": "f"}]])
def test_what_is_no_call_is_refused(calls: Any) -> None:
    with pytest.raises(InvalidPrompt):
        with_calls([{"role": "assistant", "tool_calls": calls}])


def test_mistral_gets_ids_of_nine_letters_and_phi_its_tools_in_words() -> None:
    call, result = with_short_ids([*with_calls([called({}, id="call_0123456789"), {"role": "tool"}])], [])
    known = call["tool_calls"][0]["id"]
    assert (len(known), known.isalnum(), result["tool_call_id"]) == (9, True, known)
    system, user = with_tools([{"role": "user", "content": "x"}], [{"name": "f"}])
    assert (system["role"], system["tools"], user["role"]) == ("system", '[{"name": "f"}]', "user")
