// Unpacked weights go through workgroup memory as they are.

alias Weight = f32;
