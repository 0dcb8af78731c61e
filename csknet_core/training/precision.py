"""Where bfloat16 makes training faster."""

from __future__ import annotations

import torch

_CPU_FEATURES = ("amx_bf16", "avx512_bf16", "bf16")


def has_fast_bfloat16(device: torch.device) -> bool:
    """Return whether the device computes in bfloat16 by itself.

    Elsewhere PyTorch does so too, but step by step: on a CPU without the instructions a training
    step takes about ten times as long as in float32.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities: dict[str, bool | int | str] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(feature) is True for feature in _CPU_FEATURES)
