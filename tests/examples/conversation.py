"""A conversation of several turns. What was said before is in the cache: only what is new is computed.

python conversation.py MODEL QUESTION...
"""

import sys

from unillm import Engine, SamplingParams


def main(model: str, *questions: str) -> None:
    messages = [{"role": "system", "content": "Answer in one sentence."}]
    with Engine.load(model) as engine:
        for question in questions:
            messages.append({"role": "user", "content": question})
            answer = engine.chat(messages, SamplingParams(temperature=0.7, seed=1, max_tokens=60))
            messages.append({"role": "assistant", "content": answer.text})
            print(f"> {question}\n{answer.text}")
            print(f"[{answer.usage.prompt_tokens} tokens read, {answer.usage.cached_tokens} of them from the cache]")


if __name__ == "__main__":
    main(*sys.argv[1:])
