"""Where to compute, and whether bfloat16 is fast there."""

from __future__ import annotations

import torch

# Instruction sets that multiply bfloat16. Without one, oneDNN and ATen emulate it: an AVX2 machine
# trains four times slower so than in float32.
CPU_BF16 = ("amx_bf16", "avx512_bf16", "sve_bf16")


def pick_device(name: str) -> torch.device:
    """`auto`: a GPU if there is one. Raises ValueError where the device asked for is absent."""
    present = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        name = next(device for device, there in present.items() if there)
    if not present[name]:
        raise ValueError(
            f"device {name}: not available on this machine; --device cpu works everywhere"
        )
    return torch.device(name)


def fast_bf16(device: torch.device) -> bool:
    """Whether a device computes in bfloat16 rather than emulating it. False where torch cannot
    tell: float32 is right everywhere."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    if hasattr(torch.cpu, "get_capabilities"):
        capabilities = torch.cpu.get_capabilities()
    else:  # older releases of torch know it of x86 only, and privately
        names = {"amx_bf16": "_is_amx_tile_supported", "avx512_bf16": "_is_avx512_bf16_supported"}
        capabilities = {
            name: getattr(torch.cpu, ask)()
            for name, ask in names.items()
            if hasattr(torch.cpu, ask)
        }
    return any(capabilities.get(name, False) for name in CPU_BF16)
