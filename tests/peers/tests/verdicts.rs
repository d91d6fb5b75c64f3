//! Which files llama.cpp's reader of GGUF takes and which ours does: on every published attack, on
//! the fuzzer's corpus, and on proper files with a byte changed. Wherever they differ there is a
//! reason.

#[path = "../../hostile/mod.rs"]
mod hostile;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use hostile::file::{Description, Encoded};
use hostile::small::Shape;
use sapwood_models::Gguf;
use sapwood_models::gguf::GgufError;

/// What llama.cpp makes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Accepts,
    Refuses,
    /// The process ended.
    Crashes,
}

/// The verdicts on these files, in their order. A process that a file ends is started again behind
/// that file.
fn verdicts(files: &[PathBuf]) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    while verdicts.len() < files.len() {
        let before = verdicts.len();
        let mut child = Command::new(env!("CARGO_BIN_EXE_gguf-verdict"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary was built");
        let mut paths = child.stdin.take().expect("piped");
        let left = files[before..].to_vec();
        let writer = std::thread::spawn(move || {
            for path in left {
                // Nobody reads any more when it crashed.
                if writeln!(paths, "{}", path.display()).is_err() {
                    break;
                }
            }
        });
        for line in BufReader::new(child.stdout.take().expect("piped")).lines() {
            verdicts.push(match line.expect("text").as_str() {
                "accept" => Verdict::Accepts,
                _ => Verdict::Refuses,
            });
        }
        let status = child.wait().expect("it was started");
        writer.join().expect("no panic");
        if !status.success() {
            verdicts.push(Verdict::Crashes);
        }
    }
    verdicts
}

/// Why we refuse what llama.cpp takes, or it refuses what we take.
fn reason(ours: &Result<Gguf, GgufError>, theirs: Verdict) -> Option<&'static str> {
    let Err(error) = ours else {
        return match theirs {
            Verdict::Accepts => None,
            // A block of one layer's name says nothing to the reader; both read it.
            Verdict::Refuses | Verdict::Crashes => None,
        };
    };
    Some(match error {
        GgufError::TooShort { .. } => "a file without counts",
        GgufError::Limit { .. } | GgufError::ValueTooLong { .. } => {
            "our limits are far below its gigabyte"
        }
        GgufError::CountsExceedFile { .. } => "we look at the counts before the keys",
        GgufError::BadKey { .. } => "keys are [a-z0-9._-] here, any bytes there",
        GgufError::NotUtf8 { .. } => "texts are UTF-8 here, any bytes there",
        GgufError::BadBool { .. } => "a bool is 0 or 1 here, any byte there",
        GgufError::Alignment { .. } => "8 to 65536 here, any power of two there",
        GgufError::BadTensorName { .. } => "a name has to be there, and UTF-8",
        GgufError::DimensionCount { .. } => "no dimension at all is a number there",
        GgufError::Dimension { .. } => "a dimension of zero is an empty tensor there",
        GgufError::TooManyElements { .. } => "2^40 elements here, 2^63 there",
        GgufError::UnknownBlockType { .. } => "block types that we do not compute on",
        GgufError::TensorBeyondFile { .. } => "it looks at the data when it loads them",
        GgufError::TrailingBytes { .. } => "bytes behind the last tensor are nobody's there",
        _ => return None,
    })
}

/// Files with one byte changed, at every place of the header that is not inside a long array.
fn changed_bytes() -> Vec<Vec<u8>> {
    let mut file = Description::default();
    file.set("general.architecture", Encoded::text(b"llama"));
    file.set("general.alignment", Encoded::u32(32));
    file.set("flag", Encoded::bool(true));
    file.set("texts", Encoded::strings(&["one", ""]));
    file.set("numbers", Encoded::i32s(&[1, 2]));
    file.floats("t", &[8, 2]);
    file.floats("u", &[32]);
    let proper = file.write();
    let header = Gguf::parse(&proper).expect("nothing is wrong with it").data_start();
    let at = |place: usize, byte: u8| {
        let mut changed = proper.clone();
        changed[place] = byte;
        changed
    };
    let changes = (0..header).flat_map(|place| {
        [0, 1, 0x80, 0xff, proper[place] ^ 1, proper[place] ^ 0x20].map(|byte| at(place, byte))
    });
    let cuts = (0..proper.len()).map(|len| proper[..len].to_vec());
    changes.chain(cuts).collect()
}

fn corpus() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/gguf");
    let entries = std::fs::read_dir(folder).expect("it is checked in");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("listed").path()).collect();
    paths.sort();
    paths.into_iter().map(|path| std::fs::read(path).expect("listed")).collect()
}

#[test]
fn wherever_the_readers_differ_there_is_a_reason() {
    let mut files: Vec<(String, Vec<u8>)> =
        hostile::cases().into_iter().map(|case| (case.name.to_owned(), case.file)).collect();
    for architecture in hostile::small::ARCHITECTURES {
        files.push((architecture.to_owned(), Shape::fixed(architecture).describe().write()));
    }
    let numbered = |kind: &'static str| move |(at, file)| (format!("{kind} {at}"), file);
    files.extend(corpus().into_iter().enumerate().map(numbered("corpus")));
    files.extend(changed_bytes().into_iter().enumerate().map(numbered("change")));
    let folder = tempfile::tempdir().expect("a folder");
    let paths: Vec<PathBuf> =
        (0..files.len()).map(|at| folder.path().join(at.to_string())).collect();
    for (path, (_, file)) in paths.iter().zip(&files) {
        std::fs::write(path, file).expect("room");
    }
    let mut classes = BTreeMap::<(&str, Verdict), usize>::new();
    let mut unexplained = Vec::new();
    let (mut same, mut crashes) = (0, 0);
    for ((name, file), theirs) in files.iter().zip(verdicts(&paths)) {
        let ours = Gguf::parse(file);
        crashes += usize::from(theirs == Verdict::Crashes);
        if ours.is_ok() == (theirs == Verdict::Accepts) && theirs != Verdict::Crashes {
            same += 1;
            continue;
        }
        // A crash is no acceptance: we only have to have refused it.
        let reason = match (&ours, theirs) {
            (Err(_), Verdict::Crashes) => Some("it crashes"),
            _ => reason(&ours, theirs),
        };
        match reason {
            Some(reason) => *classes.entry((reason, theirs)).or_default() += 1,
            None => unexplained.push(format!("{name}: {theirs:?}, we {:?}", ours.map(drop))),
        }
    }
    println!("MEASURED: {} files, {same} alike, {crashes} crashes of llama.cpp", files.len());
    for ((reason, theirs), count) in &classes {
        println!("MEASURED: {count} where llama.cpp {theirs:?}: {reason}");
    }
    assert!(unexplained.is_empty(), "\n{}\n", unexplained.join("\n"));
    assert!(same > files.len() / 3 && files.len() > 500, "{same} of {}", files.len());
}
