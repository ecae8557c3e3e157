"""Answer every line of standard input at once, several ways each. They share steps, and what they begin with.

python together.py MODEL INSTRUCTION < LINES
"""

import sys

from unillm import Engine, SamplingParams


def main(model: str, instruction: str) -> None:
    lines = [line.strip() for line in sys.stdin if line.strip()]
    params = SamplingParams(temperature=0.8, seed=7, n=2, max_tokens=20, stop="\n")
    with Engine.load(model) as engine:
        for line, first in zip(
            lines, engine.generate([f"{instruction}\n{line}\n" for line in lines], params), strict=True
        ):
            for answer in (first, *first.alternatives):
                print(f"{line} -> {answer.text!r} ({answer.finish_reason})")
        stats = engine.stats()
        print(f"[{stats.steps} steps; {stats.cached_tokens} of {stats.prompt_tokens} prompt tokens were shared]")


if __name__ == "__main__":
    main(*sys.argv[1:])
