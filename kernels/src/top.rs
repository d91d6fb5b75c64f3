//! The largest logits of a row, and how logits are ordered: the same on every device.

/// The most that can be asked for.
pub(crate) const TOP_MAX: usize = 64;

/// A number that is the larger the larger the logit is. What is no number comes below everything,
/// and the two zeros are one.
fn key(logit: f32) -> u32 {
    if logit.is_nan() {
        return 0;
    }
    let bits = (logit + 0.0).to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

fn logit(key: u32) -> f32 {
    match key {
        0 => f32::NAN,
        key if key >> 31 == 1 => f32::from_bits(key & !(1 << 31)),
        key => f32::from_bits(!key),
    }
}

/// A place in the order: of equal logits the lower id is larger.
fn place(id: u32, key: u32) -> u64 {
    u64::from(key) << 32 | u64::from(!id)
}

fn entry(place: u64) -> (u32, f32) {
    (!(place as u32), logit((place >> 32) as u32))
}

/// The `k` largest of a row.
pub(crate) fn top(row: &[f32], k: usize) -> Vec<(u32, f32)> {
    let mut kept: Vec<u64> = Vec::with_capacity(k + 1);
    for (id, &logit) in row.iter().enumerate() {
        let place = place(id as u32, key(logit));
        if kept.len() == k && kept.last().is_none_or(|&last| place < last) {
            continue;
        }
        kept.insert(kept.partition_point(|&other| other > place), place);
        kept.truncate(k);
    }
    kept.into_iter().map(entry).collect()
}

/// The `k` largest of what was found in parts of a row, as ids and keys.
#[cfg(feature = "gpu")]
pub(crate) fn merged(found: &[[u32; 2]], k: usize) -> Vec<(u32, f32)> {
    let mut places: Vec<u64> = found.iter().map(|&[id, key]| place(id, key)).collect();
    places.sort_unstable_by(|a, b| b.cmp(a));
    places.into_iter().take(k).map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_order_as_logits_do_and_give_them_back() {
        let ordered =
            [f32::NEG_INFINITY, f32::MIN, -1.0, -1e-45, 0.0, 1e-45, 1.0, f32::MAX, f32::INFINITY];
        assert!(ordered.windows(2).all(|pair| key(pair[0]) < key(pair[1])));
        assert!(ordered.iter().all(|&value| logit(key(value)) == value));
        assert_eq!(key(-0.0), key(0.0));
        for nan in [f32::NAN, -f32::NAN, f32::from_bits(0x7f80_0001)] {
            assert!(key(nan) < key(f32::NEG_INFINITY));
        }
        assert!(logit(key(f32::NAN)).is_nan());
    }
}
