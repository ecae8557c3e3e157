"""The kernels for CPUs, in C++ behind a plain C interface: `library.py` loads them and says how they are called.

Built with the package where there is a compiler; without one, everything works through `ops/reference.py`.
"""
