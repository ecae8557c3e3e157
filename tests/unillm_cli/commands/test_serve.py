"""`unillm serve`: what its models are loaded with."""

from dataclasses import fields

from unillm.runtime.options import EngineOptions
from unillm.tests.unillm_cli.doors import run
from unillm.unillm_cli.commands.serve import engine_options
from unillm.unillm_cli.settings import Settings


def test_every_setting_of_an_engine_reaches_the_models_served() -> None:
    environ = {
        "UNILLM_KV_DTYPE": "int8",
        "UNILLM_PREFIX_CACHE": "off",
        "UNILLM_EXACT": "1",
        "UNILLM_QUANTIZE": "q8_0",
        "UNILLM_DRAFT": "off",
        "UNILLM_MAX_BATCH_TOKENS": "64",
    }
    options = engine_options(Settings.read(environ, max_running=8))
    assert options.keys() <= {field.name for field in fields(EngineOptions)}
    assert (options["kv_dtype"], options["prefix_cache"], options["exact"]) == ("int8", "off", True)
    assert (options["quantize"], options["draft"]) == ("q8_0", "off")
    assert (options["batch_tokens"], options["sequences"]) == (64, 8)


def test_a_server_guesses_with_no_model_of_its_own() -> None:
    ran = run("serve", "--port", "0", environ={"UNILLM_DRAFT": "some"})
    assert (ran.code, ran.out) == (2, "")
    assert "UNILLM_DRAFT is some" in ran.err
