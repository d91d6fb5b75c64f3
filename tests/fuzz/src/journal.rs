//! Segments of the journal.

use std::sync::{Arc, LazyLock};

use arbitrary::{Arbitrary, Unstructured};
use sapwood::disk::{Disk, sim::SimDisk};
use sapwood::fuzz;
use sapwood::journal::{
    Consent, End, Feedback, Interaction, Journal, Limits, Record, StopReason, Tombstone, Turn,
    UsedByGeneration,
};
use sapwood::seal::Seal;
use sapwood::signal::{Rating, Signal};

use crate::mutate::short;

static SEAL: LazyLock<Arc<Seal>> = LazyLock::new(|| Arc::new(Seal::new([3; 32])));

/// Bytes before the first frame, and of the part that the checksum at 60 covers.
const HEADER: usize = 144;

/// The first byte: the rest is the file, or what is sealed into one and how that is damaged.
pub fn segment(bytes: &[u8]) {
    match bytes.split_first() {
        Some((0, file)) => drop(scan(file)),
        Some((1, header)) => {
            // The header's own checksum is in order.
            let mut file = header.to_vec();
            fuzz::mend(&mut file, 60);
            drop(scan(&file));
        }
        Some((_, rest)) => drop(sealed(&mut Unstructured::new(rest))),
        None => {}
    }
}

fn sealed(input: &mut Unstructured) -> arbitrary::Result<()> {
    let footer = bool::arbitrary(input)?;
    let damage = bool::arbitrary(input)?;
    let mut frames = Vec::new();
    for _ in 0..input.int_in_range(0..=4)? {
        let (mut kind, mut schema, mut archive) = fuzz::archive(&record(input)?);
        match input.int_in_range(0..=5)? {
            0 => archive = input.bytes(input.len().min(200))?.to_vec(),
            1 => kind = u8::arbitrary(input)?,
            2 => schema = u16::arbitrary(input)?,
            3 | 4 if !archive.is_empty() => {
                for _ in 0..input.int_in_range(1..=3)? {
                    // Relative pointers and lengths stand at the archive's end.
                    let back = input.choose_index(archive.len().min(160))? + 1;
                    let at = archive.len() - back;
                    archive[at] = u8::arbitrary(input)?;
                }
            }
            _ => {}
        }
        frames.push((kind, schema, archive));
    }
    let mut file = fuzz::segment(&SEAL, &frames, footer).expect("randomness");
    if damage {
        let at = input.choose_index(file.len())?;
        match input.int_in_range(0..=3)? {
            0 => file.truncate(at),
            1 => file.extend(short(input)?),
            _ => file[at] ^= 1 << input.int_in_range(0..=7)?,
        }
    }
    let report = scan(&file);
    if !damage {
        // A footer's kind on a frame of ours ends the segment early.
        let early = frames.iter().position(|(kind, ..)| *kind == 255);
        assert_eq!(report.records, early.unwrap_or(frames.len()), "sealed frames come back");
        let end = if footer && early.is_none() { End::Footer } else { report.end };
        assert_eq!(report.end, end);
    } else if report.valid_bytes > 0 {
        assert!(report.valid_bytes >= HEADER as u64 && report.records <= frames.len());
    }
    Ok(())
}

/// The journal with this one segment, through the ordinary reader.
fn scan(file: &[u8]) -> sapwood::journal::SegmentReport {
    let disk = Arc::new(SimDisk::new());
    let name = "0000000000000010-0000000000000001.seg";
    let shared: Arc<dyn Disk> = Arc::clone(&disk) as _;
    let mut journal = Journal::open(shared, Arc::clone(&SEAL), Limits::default()).expect("empty");
    disk.create(&format!("j/{name}")).expect("new");
    disk.append(&format!("j/{name}"), file).expect("there");
    let scan = journal.scan().expect("the disk does not fail");
    let [report] = scan.segments.as_slice() else { panic!("one segment") };
    assert!(report.valid_bytes <= report.bytes && report.unknown <= report.records);
    assert!(scan.entries.len() <= report.records);
    // What was read can be written again, and upkeep copes with it.
    for entry in scan.entries.iter().take(4) {
        journal.append(&entry.record, 1 << 40).expect("it was read from a frame");
    }
    journal.flush(1 << 40).expect("the disk does not fail");
    report.clone()
}

fn text(input: &mut Unstructured) -> arbitrary::Result<String> {
    Ok(String::from_utf8_lossy(short(input)?).into_owned())
}

fn record(input: &mut Unstructured) -> arbitrary::Result<Record> {
    let (reply_id, time_ms) = (u128::from(u8::arbitrary(input)?), u64::arbitrary(input)?);
    Ok(match input.int_in_range(0..=4)? {
        0 => Record::Interaction(Interaction {
            reply_id,
            order: time_ms,
            follows: Some(u128::from(u8::arbitrary(input)?)),
            session: 9,
            surface: text(input)?,
            time_ms,
            system: if bool::arbitrary(input)? { Some(text(input)?) } else { None },
            turns: vec![Turn { role: "user".into(), text: text(input)? }],
            reply: text(input)?,
            adapter_digest: None,
            seed: 1,
            shots: 0,
            tokens: 3,
            stop: StopReason::End,
            mean_nll: Some(0.5),
        }),
        1 => {
            let signal = match input.int_in_range(0..=3)? {
                0 => Signal::Edited { text: text(input)? },
                1 => Signal::Rated { rating: Rating::Down },
                2 => Signal::Stopped { shown_tokens: 7 },
                _ => Signal::Accepted,
            };
            Record::Feedback(Feedback { reply_id, order: time_ms, time_ms, signal })
        }
        2 => Record::Tombstone(Tombstone { reply_ids: vec![reply_id, 1], time_ms }),
        3 => Record::Consent(Consent { granted: bool::arbitrary(input)?, time_ms }),
        _ => Record::UsedByGeneration(UsedByGeneration {
            digest: [4; 32],
            reply_ids: vec![reply_id],
            time_ms,
        }),
    })
}
