//! Any change of a described file, as the fuzzer's bytes have it.

use arbitrary::{Arbitrary, Unstructured};

use crate::hostile::file::{ARRAY, BOOL, Description, Encoded, F32, U32};
use crate::hostile::small::{ARCHITECTURES, Shape};

/// A value of whatever kind.
fn value(input: &mut Unstructured) -> arbitrary::Result<Encoded> {
    Ok(match input.int_in_range(0..=7)? {
        0 => Encoded::u32(interesting(input)? as u32),
        1 => Encoded::f32(float(input)?),
        2 => Encoded { value_type: BOOL, bytes: vec![u8::arbitrary(input)?] },
        3 => Encoded::text(short(input)?),
        4 => Encoded::strings(&[short(input)?, short(input)?]),
        5 => Encoded::i32s(&[i32::arbitrary(input)?]),
        6 => Encoded::array(u32::arbitrary(input)? % 16, interesting(input)?, short(input)?),
        _ => Encoded { value_type: u32::arbitrary(input)? % 16, bytes: short(input)?.to_vec() },
    })
}

/// A few bytes.
pub fn short<'a>(input: &mut Unstructured<'a>) -> arbitrary::Result<&'a [u8]> {
    let len = input.int_in_range(0..=40usize)?.min(input.len());
    input.bytes(len)
}

/// A number that readers have stumbled over, or a small one, or any.
pub fn interesting(input: &mut Unstructured) -> arbitrary::Result<u64> {
    const KNOWN: [u64; 17] = [
        0,
        1,
        2,
        255,
        256,
        257,
        512,
        513,
        1 << 20,
        1 << 21,
        1 << 31,
        1 << 32,
        (1 << 42) + 1,
        1 << 63,
        u64::MAX - 31,
        u64::MAX - 7,
        u64::MAX,
    ];
    Ok(match input.int_in_range(0..=3)? {
        0 => *input.choose(&KNOWN)?,
        1 => u64::arbitrary(input)?,
        _ => input.int_in_range(0..=70)?,
    })
}

/// A float that readers have stumbled over, or any.
pub fn float(input: &mut Unstructured) -> arbitrary::Result<f32> {
    const KNOWN: [f32; 10] = [
        0.0,
        -0.0,
        1e-5,
        0.1,
        1e4,
        1e30,
        f32::MIN_POSITIVE,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
    ];
    Ok(if bool::arbitrary(input)? { *input.choose(&KNOWN)? } else { f32::arbitrary(input)? })
}

/// One change of one field.
pub fn mutate(file: &mut Description, input: &mut Unstructured) -> arbitrary::Result<()> {
    let key = |file: &Description, input: &mut Unstructured| {
        input.choose_index(file.keys.len().max(1)).map(|at| at.min(file.keys.len()))
    };
    match input.int_in_range(0..=7)? {
        0 => match input.int_in_range(0..=5)? {
            0 => file.version = interesting(input)? as u32,
            1 => file.key_count = Some(interesting(input)?),
            2 => file.tensor_count = Some(interesting(input)?),
            3 => file.behind = short(input)?.to_vec(),
            4 => file.cut = Some(usize::from(u16::arbitrary(input)?)),
            _ => {
                let value = interesting(input)? as u32;
                file.set("general.alignment", Encoded::u32(value));
                if value.is_power_of_two() && value <= 4096 {
                    file.alignment = value as usize;
                }
            }
        },
        1..=3 => {
            let at = key(file, input)?;
            let choice = input.int_in_range(0..=9)?;
            if at >= file.keys.len() {
                return Ok(());
            }
            match choice {
                0 => drop(file.keys.remove(at)),
                1 => file.keys.push(file.keys[at].clone()),
                2 => file.keys[at].0 = short(input)?.to_vec(),
                3..=5 => file.keys[at].1 = value(input)?,
                _ => mutate_value(&mut file.keys[at].1, input)?,
            }
        }
        _ if file.tensors.is_empty() => {}
        _ => mutate_tensor(file, input)?,
    }
    Ok(())
}

/// The value keeps its type.
fn mutate_value(value: &mut Encoded, input: &mut Unstructured) -> arbitrary::Result<()> {
    let number = interesting(input)?;
    match value.value_type {
        U32 => *value = Encoded::u32(number as u32),
        F32 => *value = Encoded::f32(float(input)?),
        // Behind the element type and the count.
        ARRAY if value.bytes.len() > 12 && bool::arbitrary(input)? => {
            let at = 12 + input.choose_index(value.bytes.len() - 12)?;
            value.bytes[at] = u8::arbitrary(input)?;
        }
        ARRAY if value.bytes.len() >= 12 => {
            value.bytes[4..12].copy_from_slice(&number.to_le_bytes());
        }
        _ => {
            if let Some(byte) = value.bytes.last_mut() {
                *byte = u8::arbitrary(input)?;
            }
        }
    }
    Ok(())
}

fn mutate_tensor(file: &mut Description, input: &mut Unstructured) -> arbitrary::Result<()> {
    let at = input.choose_index(file.tensors.len())?;
    let other = input.choose_index(file.tensors.len())?;
    let choice = input.int_in_range(0..=9)?;
    let tensor = &mut file.tensors[at];
    match choice {
        0 => drop(file.tensors.remove(at)),
        1 => file.tensors.push(file.tensors[at].clone()),
        2 => tensor.name = short(input)?.to_vec(),
        3 => {
            tensor.dims = (0..input.int_in_range(0..=6)?)
                .map(|_| interesting(input))
                .collect::<Result<_, _>>()?
        }
        4 if !tensor.dims.is_empty() => {
            let axis = input.choose_index(tensor.dims.len())?;
            tensor.dims[axis] = interesting(input)?;
        }
        5 => tensor.ggml_type = u32::arbitrary(input)? % 48,
        6 => tensor.offset = Some(interesting(input)?),
        7 => {
            // Values that are floats of any kind.
            let word = float(input)?.to_le_bytes();
            if let Some(place) = tensor.data.as_chunks_mut::<4>().0.first_mut() {
                *place = word;
            }
        }
        8 => tensor.data.truncate(input.choose_index(tensor.data.len() + 1)?),
        _ => file.tensors.swap(at, other),
    }
    Ok(())
}

/// A small model of any shape.
pub fn shape(input: &mut Unstructured) -> arbitrary::Result<Shape> {
    Ok(Shape {
        architecture: input.choose(&ARCHITECTURES)?,
        layers: input.int_in_range(1..=2)?,
        kv_heads: input.int_in_range(1..=2)?,
        group: input.int_in_range(1..=3)?,
        head_dim: 2 * input.int_in_range(1..=20)?,
        ff: input.int_in_range(1..=40)?,
        sentence_piece: bool::arbitrary(input)?,
        tied: bool::arbitrary(input)?,
    })
}
