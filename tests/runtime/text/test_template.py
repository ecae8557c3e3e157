"""Chat templates: the text that `transformers` writes, and nothing else whatever a template tries."""

import json
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import process_time
from typing import Any

import gguf
import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from unillm.registry.errors import FormatError
from unillm.registry.files import ModelFiles
from unillm.runtime.errors import InvalidPrompt
from unillm.runtime.text.errors import TemplateFault, TemplateLimit
from unillm.runtime.text.template import ChatTemplate
from unillm.tests.support.hangs import HANGS

CHAT: list[dict[str, Any]] = [
    {"role": "system", "content": "  Be brief. "},
    {"role": "user", "content": "Hello\nthere, 2 < 3 & 'so' on"},
    {"role": "assistant", "content": "Hi."},
    {"role": "user", "content": "Why?"},
]
TOKENS: Any = {"bos_token": "<s>", "eos_token": "</s>"}

CHATML = """\
{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system
You are helpful<|im_end|>
' }}{% endif %}{{'<|im_start|>' + message['role'] + '
' + message['content'] + '<|im_end|>' + '
'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant
' }}{% endif %}"""

FEATURES = """\
{{- bos_token }}
{%- set ns = namespace(count=0, last=none) %}
{%- macro turn(role, text) %}[{{ role|upper }}:{{ text|trim }}]{% endmacro %}
{%- if messages[0].role == 'system' %}{% set rest = messages[1:] %}{% else %}{% set rest = messages %}{% endif %}
{%- for message in rest %}
    {%- if loop.index0 % 2 == 0 %}{% set ns.count = ns.count + 1 %}{% endif %}
    {%- if message.content is string and loop.last %}{% set ns.last = message %}{% endif %}
    {{- turn(message.role, message.content) ~ ' #' ~ loop.index ~ '/' ~ loop.length }}
    {%- if loop.index > 10 %}{% break %}{% endif %}
{%- endfor %}
{%- for message in messages[::-1] %}{{ message.role[0] }}{% else %}none{% endfor %}
{%- generation %}{{ {'a': [1, 'é', none, true], 'b': "<&>"}|tojson }}{% endgeneration %}
{{ [1, 2, 3]|map('string')|join('+') }} {{ '%s of %d'|format('one', 2) }} {{ '{:>4}|{}'.format('x', 7) }}
{{ messages|selectattr('role', 'equalto', 'user')|list|length }} {{ ns.last.content.split('y')[0].strip() }}
{{ tools|tojson(indent=4) if tools else 'no tools' }} {{ missing|default('gone') }} {{ (messages|last)['content'] }}
{%- for a, b in [(1, 2), (3, 4)] %}{{ a * b }}{% endfor %}{{ 'ab' * 3 }}{{ 7 // 2 }}{{ 2 ** 10 }}
"""


@pytest.mark.parametrize("source", [CHATML, FEATURES])
@pytest.mark.parametrize("tools", [None, [{"type": "function", "function": {"name": "f", "parameters": {}}}]])
def test_text_is_what_transformers_writes(source: str, tools: list[Any] | None) -> None:
    ours = ChatTemplate(source, "m").render(CHAT, tools=tools, **TOKENS)
    theirs: Any = render_jinja_template([CHAT], tools=tools, chat_template=source, add_generation_prompt=True, **TOKENS)
    assert ours == theirs[0][0]


BOMBS = [
    "{{ 9**(9**9) }}",
    "{{ 'a' * 10**11 }}",
    "{{ 10**11 * ['a'] }}",
    "{{ 'a'.center(10**11) }}",
    "{{ 'a'|center(10**11) }}",
    "{{ '%1000000000000s' % 1 }}",
    "{{ '%*s' % (10**12, 1) }}",
    "{{ '%99999s' * 99999 % 1 }}",
    "{{ '{:>1000000000000}'.format(1) }}",
    "{{ '{:>{}}'.format(1, 10**12) }}",
    "{% set ns = namespace(x='aaaa') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
    "{% set ns = namespace(x='aaaa') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
    "{% set ns = namespace(x=1) %}{% for i in range(60) %}{% set ns.x = {'a': ns.x, 'b': ns.x} %}{% endfor %}"
    "{{ ns.x|tojson }}",
    "{% set ns = namespace(x=2) %}{% for i in range(60) %}{% set ns.x = ns.x * ns.x %}{% endfor %}",
    "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}{% endfor %}"
    "{% endfor %}",
    "{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}",
    "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
    "{% for i in range(99999) %}{{ 'x' * 1000 }}{% endfor %}",
    "{% set x %}{% for i in range(99999) %}{{ 'x' * 1000 }}{% endfor %}{% endset %}",
    "{{ ('x' * 1000000).replace('x', 'y' * 1000) }}",
    "{{ ('x' * 1000000)|replace('x', 'y' * 1000) }}",
    "{{ ('y' * 10000).join(['x'] * 100000) }}",
    "{{ (['x'] * 100000)|join('y' * 10000) }}",
    "{{ ('\\t' * 1000000).expandtabs(100000) }}",
    "{{ ('\\n' * 900000)|indent(100000) }}",
    "{{ [1]|tojson(indent=10**10) }}",
    "{% set ns = namespace(x=[]) %}{% for i in range(99999) %}{% set ns.x = [ns.x, 'abc' * 99999] %}{% endfor %}",
    "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "{% if 1 %}" * 3000 + "{% endif %}" * 3000,
    "{% if a %}b" + "{% elif c %}d" * 7000 + "{% endif %}",
    "{{ a }}" * 14_000,
    "{{ a" + ".b" * 40_000 + " }}",
    "{{ " + "+".join(["1"] * 40_000) + " }}",
    "{# " + "x" * 100_000 + " #}",
    "{{ 0x" + "f" * 60_000 + " // 0x" + "7" * 30_000 + " }}",
    "{{ ('f' * 60000)|int(0, 16) }}",
    "{% set ns = namespace(x=[]) %}{% for i in range(99) %}{% set ns.x = [ns.x, ('ab ' * 60000).split(' ')] %}"
    "{% endfor %}",
    "{% set ns = namespace(x=[]) %}{% for i in range(99) %}{% set ns.x = [ns.x, ('Δ' * 60000)|list] %}{% endfor %}",
    "{{ ('%(a)s' * 20000) % {'a': 'x' * 900000} }}",
    "{{ ('%(a)s' * 20000)|format(a='x' * 900000) }}",
    "{{ ('{0}' * 20000).format('x' * 900000) }}",
    "{{ ([[0] * 1000] * 3000)|sum(start=[]) }}",
    "{{ ('<!---->' * 90000)|striptags }}",
    "{{ range(10**9) }}",
    "{{ range(99999)" + "|select" * 90 + "|list|length }}{{ range(99999)" + "|select" * 90 + "|list|length }}",
    "{% macro m(n) %}{% set a = ('x' * 900000) ~ n %}{{ m(n + 1) }}{{ a|length }}{% endmacro %}{{ m(0) }}",
    "{% set a = 'x' * 900000 %}" + "".join(f"{{% set a{n} = a ~ {n} %}}" for n in range(1000)),
    "{% for a in 'x' * 900000 %}{% for b in 'x' * 900000 %}{% endfor %}{% endfor %}",
    "{% for a in [1] recursive %}{{ loop([a]) }}{% endfor %}",
    "{{ strftime_now('%Y' * 100000) }}",
    "{{ [[[[[[1]]]]]]|tojson(indent='x' * 100000) }}",
    "{{ ('<' * 900000)|e|e|e|urlencode }}",
    "{% set ns = namespace(x='a', y='b') %}{% for i in range(99999) %}{% set ns.x = 'z' * 900000 %}{% endfor %}",
]


@pytest.mark.parametrize("source", BOMBS, ids=range(len(BOMBS)))
def test_a_bomb_is_stopped_in_time_and_memory(source: str) -> None:
    start = process_time()
    tracemalloc.start()
    try:
        with pytest.raises(TemplateLimit, match=r"^chat template of evil.*limit: "):
            ChatTemplate(source, "evil").render(CHAT)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert process_time() - start < HANGS
    assert peak < 100_000_000


HEAVY = {
    "a namespace of namespaces": "{% set ns = namespace(x=1) %}{% for i in range(60) %}"
    "{% set ns.x = namespace(a=ns.x, b=ns.x) %}{% endfor %}{{ ns.x }}",
    "many names": "{{ dict(" + ",".join(f"a{n}=1" for n in range(2000)) + ")|length }}",
    "keys that collide": "{% set x = {" + ",".join(f"{n * (2**61 - 1)}:1" for n in range(2000)) + "} %}{{ x|length }}",
    "a cycle": "{% set c = cycler(1, 2) %}{% for i in range(9999) %}{% set x = c.next() %}{% endfor %}",
    "a wide date": "{{ strftime_now('%999999999Y')|length < 9999 }}",
}


@pytest.mark.parametrize("source", HEAVY.values(), ids=HEAVY.keys())
def test_what_looks_like_a_bomb_and_is_none_is_written(source: str) -> None:
    start = process_time()
    assert len(ChatTemplate(source, "odd").render(CHAT)) < 1000
    assert process_time() - start < HANGS


ESCAPES = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ ''|attr('__class__') }}",
    "{{ '{0.__class__}'.format(1) }}",
    "{{ ('{0.__cl' + 'ass__}').format(1) }}",
    "{{ '{x.__class__}'.format_map({'x': 1}) }}",
    "{{ raise_exception.__globals__ }}",
    "{{ messages.append(1) }}",
    "{{ self.__init__.__globals__ }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ (1).to_bytes(100000000000, 'big') }}",
    "{{ lipsum(n=5) }}",
    "{{ 'a'.encode('utf-16') }}",
    "{{ 'abc'.translate({97: 'x'}) }}",
    "{{ messages[0].pop('role') }}",
    "{{ messages[0].update(role='x') }}",
    "{{ (range(3)).__reduce__() }}",
    "{% set ns = namespace() %}{% set ns._secret = 1 %}{{ ns._secret }}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ dict.__class__ }}",
    "{{ tojson.__self__ }}",
    "{{ messages|map(attribute='__class__')|list }}",
    "{{ strftime_now.__globals__['datetime'] }}",
    "{% for k in range %}{{ k }}{% endfor %}",
]


def text_or_refusal(source: str) -> str:
    try:
        return ChatTemplate(source, "evil").render(CHAT)
    except TemplateFault as fault:
        return str(fault)


@pytest.mark.parametrize("source", ESCAPES, ids=range(len(ESCAPES)))
def test_nothing_outside_the_template_is_reached(source: str) -> None:
    said = text_or_refusal(source)
    assert said in ("", "[Undefined, Undefined, Undefined, Undefined]") or said.startswith("chat template of evil")


@pytest.mark.parametrize("source", ["{% include 'x' %}", "{% import 'os' as os %}"])
def test_no_other_template_is_read(source: str) -> None:
    with pytest.raises(TemplateFault, match=r"^chat template of evil"):
        ChatTemplate(source, "evil").render(CHAT)


def test_a_refusal_is_the_templates_own_sentence() -> None:
    with pytest.raises(TemplateFault, match="chat template of m: only two turns"):
        ChatTemplate("{{ raise_exception('only two turns') }}", "m").render(CHAT)


def test_an_error_names_the_line() -> None:
    with pytest.raises(TemplateFault, match=r"chat template of m, line 3: "):
        ChatTemplate("a\nb\n{{ messages[99].x.y }}", "m").render(CHAT)
    with pytest.raises(TemplateFault, match=r"chat template of m, line 2: "):
        ChatTemplate("a\n{% if %}", "m")


def test_a_long_conversation_is_no_bomb() -> None:
    chat = [{"role": "user", "content": "word " * 100_000}] * 8
    assert len(ChatTemplate(CHATML, "m").render(chat)) > 4_000_000
    chat = [{"role": "user", "content": "word"}] * 5_000
    assert ChatTemplate(CHATML, "m").render(chat).count("word") == 5_000


def test_the_users_own_template_comes_before_the_models(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text('{"chat_template": [{"name": "default", "template": "theirs"}]}')
    files = {"tokenizer_config.json": tmp_path / "tokenizer_config.json"}
    theirs = ChatTemplate.find(ModelFiles("m", "safetensors", (), files))
    mine = ChatTemplate.find(ModelFiles("m", "safetensors", (), files, template="mine"))
    assert theirs is not None
    assert mine is not None
    assert (theirs.render([]), mine.render([])) == ("theirs", "mine")
    assert ChatTemplate.find(ModelFiles("m", "safetensors", ())) is None


def test_several_templates_go_by_name(tmp_path: Path) -> None:
    named = [{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "{{ tools|length }} tools"}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": named}))
    template = ChatTemplate.find(
        ModelFiles("m", "safetensors", (), {"tokenizer_config.json": tmp_path / "tokenizer_config.json"})
    )
    assert template is not None
    assert (template.render([]), template.render([], tools=[{}])) == ("plain", "1 tools")
    with pytest.raises(TemplateFault, match="none of those that it has is called default: rag"):
        ChatTemplate({"rag": "x"}, "m").render([])


def test_a_file_of_its_own_comes_before_the_configuration(tmp_path: Path) -> None:
    for name, text in {
        "tokenizer_config.json": '{"chat_template": "config"}',
        "chat_template.json": '{"chat_template": "json"}',
        "chat_template.jinja": "own",
        "additional_chat_templates/tool_use.jinja": "tools",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    names = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.j*")]
    files = {name: tmp_path / name for name in names}

    def found(*without: str) -> str:
        left = {name: path for name, path in files.items() if name not in without}
        template = ChatTemplate.find(ModelFiles("m", "safetensors", (), left))
        assert template is not None
        return template.render([]) + "/" + template.render([], tools=[])

    assert found() == "own/tools"
    assert found("chat_template.jinja") == "json/json"
    assert found("chat_template.jinja", "chat_template.json") == "config/config"


def test_a_gguf_has_it_among_its_keys(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(str(tmp_path / "m.gguf"), "llama")
    writer.add_string("tokenizer.chat_template", "inside")
    writer.add_string("tokenizer.chat_template.tool_use", "inside with tools")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    template = ChatTemplate.find(ModelFiles("m", "gguf", (tmp_path / "m.gguf",)))
    assert template is not None
    assert template.render([], tools=[]) == "inside with tools"


def test_a_template_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_bytes(b"\xff\xfe\x00")
    files = ModelFiles("m", "safetensors", (), {"chat_template.jinja": tmp_path / "chat_template.jinja"})
    with pytest.raises(FormatError, match=r"chat_template\.jinja: file at byte 0: is not text in UTF-8"):
        ChatTemplate.find(files)


def test_templates_see_plain_data_only() -> None:
    message = {"role": "user", "content": "a", "name": None}
    assert ChatTemplate("{{ messages[0]|tojson }}", "m").render([message]) == '{"role": "user", "content": "a"}'
    deep: list[Any] = []
    for _ in range(10_000):
        deep = [deep]
    for content, reason in ((Path(), r"cannot hold a \w*Path"), (b"", "cannot hold a bytes"), (deep, "64 deep")):
        with pytest.raises(InvalidPrompt, match=reason):
            ChatTemplate("", "m").render([{"role": "user", "content": content}])
    with pytest.raises(InvalidPrompt, match="a message is a dict with a role and a content, not str"):
        ChatTemplate("", "m").render(["hello"])  # type: ignore[list-item]


def test_several_threads_render_at_once() -> None:
    template = ChatTemplate(CHATML, "m")
    chats = [[{"role": "user", "content": f"number {n}"}] * (n + 1) for n in range(40)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(template.render, chats)) == [template.render(chat) for chat in chats]
