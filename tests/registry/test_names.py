from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unillm.registry.errors import InvalidName
from unillm.registry.names import Kind, ModelRef


@pytest.mark.parametrize(
    ("text", "kind", "fields"),
    [
        ("llama3", Kind.SHORT, {"name": "llama3", "tag": None}),
        ("llama3:8b", Kind.SHORT, {"name": "llama3", "tag": "8b"}),
        ("Mistral:7B-Instruct", Kind.SHORT, {"name": "mistral", "tag": "7b-instruct"}),
        ("qwen2.5-coder:1.5b-q8_0", Kind.SHORT, {"name": "qwen2.5-coder", "tag": "1.5b-q8_0"}),
        ("org/repo", Kind.REPO, {"name": "org/repo"}),
        ("Org/Repo@v1.0", Kind.REPO, {"name": "Org/Repo", "revision": "v1.0"}),
        ("org/repo@refs/pr/1", Kind.REPO, {"name": "org/repo", "revision": "refs/pr/1"}),
        ("hf.co/org/repo", Kind.REPO, {"name": "org/repo", "quant": None}),
        ("hf.co/org/repo:q4_k_m", Kind.REPO, {"name": "org/repo", "quant": "Q4_K_M"}),
        ("https://huggingface.co/Qwen/Qwen3-0.6B/", Kind.REPO, {"name": "Qwen/Qwen3-0.6B"}),
        ("hf://org/repo", Kind.REPO, {"name": "org/repo"}),
        ("./dir", Kind.FOLDER, {"path": Path("dir")}),
        ("dir/", Kind.FOLDER, {"path": Path("dir")}),
        ("/abs/dir", Kind.FOLDER, {"path": Path("/abs/dir")}),
        ("~/models/x", Kind.FOLDER, {"path": Path("~/models/x")}),
        (".", Kind.FOLDER, {"path": Path()}),
        ("model.gguf", Kind.FILE, {"path": Path("model.gguf")}),
        ("sub/model.safetensors", Kind.FILE, {"path": Path("sub/model.safetensors")}),
        ("../pytorch_model.bin", Kind.FILE, {"path": Path("../pytorch_model.bin")}),
    ],
)
def test_every_spelling_has_one_meaning(text: str, kind: Kind, fields: dict[str, object]) -> None:
    ref = ModelRef.parse(text)
    assert ref.kind is kind
    assert {name: getattr(ref, name) for name in fields} == fields
    assert ModelRef.parse(str(ref)) == ref


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "a b",
        "-rf",
        "--help",
        ":8b",
        "llama3:",
        "a:b:c",
        "a..b",
        "a/b/c",
        "a//b",
        "org/../repo",
        "org/..",
        "hf.co/org",
        "hf.co/../../etc/passwd",
        "hf.co//etc/passwd",
        "org/repo@",
        "org/repo@../x",
        "org/repo:",
        "https://evil.example/org/repo",
        "file:///etc/passwd",
        "user@host",
        "a\\b",
        "..\\..\\x",
        "na\0me",
        "na\nme",
        "na\x1b[31mme",
        "na\u202eme",
        "x" * 81,
        "x" * 5000,
        "%2e%2e%2f",
        "$(id)",
        "ünïcode",
    ],
)
def test_what_is_no_name_is_refused_and_is_never_a_path(text: str) -> None:
    with pytest.raises(InvalidName) as caught:
        ModelRef.parse(text)
    assert str(caught.value).isprintable()


def test_a_repository_is_not_a_folder_even_where_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "org" / "repo").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert ModelRef.parse("org/repo").kind is Kind.REPO


@given(st.text(max_size=60))
def test_any_text_is_refused_or_is_spelled_the_same_way_again(text: str) -> None:
    try:
        ref = ModelRef.parse(text)
    except InvalidName:
        return
    assert ModelRef.parse(str(ref)) == ref
