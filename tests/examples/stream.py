"""Print an answer while it is written, and what it cost.

python stream.py MODEL PROMPT
"""

import sys

from unillm import Engine, SamplingParams


def main(model: str, prompt: str) -> None:
    with Engine.load(model) as engine:
        for update in engine.stream(prompt, SamplingParams(temperature=0, max_tokens=40)):
            print(update.text, end="", flush=True)
            if update.completion is not None:
                usage, timings = update.completion.usage, update.completion.timings
                print(f"\n[{usage.completion_tokens} tokens, {timings.tokens_per_second:.1f} a second]")


if __name__ == "__main__":
    main(*sys.argv[1:])
