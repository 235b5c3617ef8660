"""The same arithmetic on every x86 processor: a stage imports this before any library that computes."""

import os
import platform

# Each library picks the fastest kernels for a processor, and their sums differ in the last digits: two machines would
# not share a dvc.lock. AVX2 is what all have. MKL's AVX2 kernels differ between Intel and AMD; its portable ones
# take 2.5 times as long, a training of the demo 1.5 times.
PORTABLE = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_CBWR": "COMPATIBLE",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
}

# Commands outside the pipeline (`abo-vqa serve`, `predict`) keep the fastest kernels; variables already set win.
if "DVC_STAGE" in os.environ and platform.machine() in ("x86_64", "AMD64"):
    for variable, value in PORTABLE.items():
        os.environ.setdefault(variable, value)
