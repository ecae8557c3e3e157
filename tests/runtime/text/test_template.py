"""Chat templates: the text that `transformers` writes, and nothing else whatever a template tries."""

from pathlib import Path
from time import perf_counter
from typing import Any

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from unillm.registry.files import ModelFiles
from unillm.runtime.text.errors import TemplateFault, TemplateLimit
from unillm.runtime.text.template import ChatTemplate

CHAT: list[dict[str, Any]] = [
    {"role": "system", "content": "  Be brief. "},
    {"role": "user", "content": "Hello\nthere, 2 < 3 & 'so' on"},
    {"role": "assistant", "content": "Hi."},
    {"role": "user", "content": "Why?"},
]
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}

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
    theirs, _ = render_jinja_template([CHAT], tools=tools, chat_template=source, add_generation_prompt=True, **TOKENS)
    assert ours == theirs[0]


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
]


@pytest.mark.parametrize("source", BOMBS, ids=range(len(BOMBS)))
def test_a_bomb_is_stopped_in_time(source: str) -> None:
    start = perf_counter()
    with pytest.raises(TemplateLimit, match=r"^chat template of evil.*limit: "):
        ChatTemplate(source, "evil").render(CHAT)
    assert perf_counter() - start < 5


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
]


def text_or_refusal(source: str) -> str:
    try:
        return ChatTemplate(source, "evil").render(CHAT)
    except TemplateFault as fault:
        return str(fault)


@pytest.mark.parametrize("source", ESCAPES, ids=range(len(ESCAPES)))
def test_nothing_outside_the_template_is_reached(source: str) -> None:
    said = text_or_refusal(source)
    assert said == "" or said.startswith("chat template of evil")


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
