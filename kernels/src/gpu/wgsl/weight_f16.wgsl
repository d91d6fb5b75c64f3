// Unpacked weights go through workgroup memory as halves: half as much of it, for a rounding of
// 2^-12.

alias Weight = f16;
