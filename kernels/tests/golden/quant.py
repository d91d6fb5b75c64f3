"""Makes quant.bin: blocks and their values by the numpy code of PyPI's `gguf` (0.19).

Per type, in the order of TYPES: name (8 bytes, zero padded), u32 bytes, u32 values, u32 written;
the blocks; their values as f32; and, for the types that gguf can write, the blocks that it makes
of SAMPLE (`written` bytes). First of all, SAMPLE: u32 count, f32 values. All little-endian.
"""

import struct
from pathlib import Path

import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType as Type
from gguf.quants import dequantize, quantize

TYPES = ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K"]
WRITTEN = ["F32", "F16", "BF16", "Q4_0", "Q8_0"]
# Byte offsets of the f16 fields, which must be finite.
HALVES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
          "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}


def blocks(name: str, rng: np.random.Generator) -> np.ndarray:
    """Random bytes with finite scales: 512 weights."""
    length, size = GGML_QUANT_SIZES[Type[name]]
    if name in ("F32", "F16", "BF16"):
        values = rng.normal(size=(1, 512)).astype(np.float32)
        return quantize(values, Type[name]).view(np.uint8).reshape(-1, size)
    rows = rng.integers(0, 256, size=(512 // length, size), dtype=np.uint8)
    for at in HALVES[name]:
        scales = rng.normal(size=len(rows)).astype(np.float16)
        scales[0] = np.float16(6e-7)  # subnormal
        rows[:, at : at + 2] = scales.view(np.uint8).reshape(-1, 2)
    return rows


def main() -> None:
    rng = np.random.default_rng(1)
    sample = rng.normal(size=512).astype(np.float32)
    sample[32:64] = 0  # a block of zeros
    sample[64:96] = np.float32(7.5) * np.sign(sample[64:96])  # ties in magnitude
    sample[96:128] *= np.float32(1e-6)  # a subnormal scale
    out = struct.pack("<I", len(sample)) + sample.tobytes()
    for name in TYPES:
        data = blocks(name, rng)
        values = dequantize(data.reshape(1, -1), Type[name]).astype(np.float32)
        made = quantize(sample.reshape(1, -1), Type[name]).tobytes() if name in WRITTEN else b""
        out += name.encode().ljust(8, b"\0")
        out += struct.pack("<III", data.size, values.size, len(made))
        out += data.tobytes() + values.tobytes() + made
    Path(__file__).with_name("quant.bin").write_bytes(out)


if __name__ == "__main__":
    main()
