"""`unillm bench serve`: figures of a running server, for people and for programs."""

import json

from unillm.tests.support.endpoint import Habits, endpoint
from unillm.tests.support.serving import Serving, free_port
from unillm.tests.unillm_cli.doors import run
from unillm.unillm_cli.errors import Exit

FEW = ("--requests", "4", "--concurrency", "2", "--prompt-tokens", "24", "--answer-tokens", "6")


def test_a_server_of_ours_is_measured_as_it_answers(server: Serving) -> None:
    ran = run("bench", "serve", server.model, *FEW, "--json", environ={"UNILLM_HOST": server.url})
    told = json.loads(ran.out)
    assert (ran.code, told["answered"], told["failed"]) == (Exit.OK, 4, {})
    assert (told["prompt_tokens"], told["answer_tokens"]) == (4 * 24, 4 * 6)  # letters are tokens to this model
    assert set(told["times"]) == {"first token", "time per token", "whole answer"}


def test_it_prints_a_table_and_what_came_of_it() -> None:
    with endpoint(Habits(fails=4)) as url:
        ran = run("bench", "serve", "--url", f"{url}/", *FEW)
    lines = ran.out.splitlines()
    assert [line.split("  ")[0] for line in lines[:4]] == ["TIMES", "first token", "time per token", "whole answer"]
    assert "tokens of answers a second" in lines[4]
    assert lines[5].startswith("3 requests in ")
    assert "1 requests failed: ServerRefused: status 503" in ran.err


def test_a_server_that_is_not_there_is_a_network_error() -> None:
    ran = run("bench", "serve", "m", "--url", f"http://127.0.0.1:{free_port()}/v1")
    assert (ran.code, "no server answers" in ran.err) == (Exit.NETWORK, True)
