"""Matrices as the tools that quantise models have published them in safetensors: what their tensors mean as numbers.

`methods.py` reads which tool it was; a file a layout says how its bits are told apart. Every layout stays as it lies in
the mapped file. Where blocks that the CPU kernels know hold exactly the same numbers, it is re-laid into these.
"""
