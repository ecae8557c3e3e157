"""How surprised a model is by a text: its perplexity, and the tokens that surprised it most.

python perplexity.py MODEL TEXT
"""

import math
import sys

from unillm import Engine, SamplingParams


def main(model: str, text: str) -> None:
    with Engine.load(model) as engine:
        read = engine.generate(text, SamplingParams(max_tokens=0, prompt_logprobs=0)).prompt_logprobs or ()
    mean = sum(token.logprob for token in read) / len(read)
    print(f"perplexity {math.exp(-mean):.2f} over {len(read)} tokens")
    for token in sorted(read, key=lambda one: one.logprob)[:3]:
        print(f"  {token.token!r} had a chance of {math.exp(token.logprob):.2g}")


if __name__ == "__main__":
    main(*sys.argv[1:])
