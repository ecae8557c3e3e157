"""Operations as Triton kernels, for GPUs. Nothing here is imported where triton is not installed: `backend` says."""
