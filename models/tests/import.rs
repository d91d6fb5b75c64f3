//! What happens to a model's file on its way into the app's folder, and there.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use ring::digest::{SHA256, digest};
use sapwood_models::import::{ImportError, Imported, Take, import};
use sapwood_models::{GgufWriter, MapError, Mapped};

const BOTH: [Take; 2] = [Take::Link, Take::Copy];

/// A folder of this test's own, with a model in it and a place to import to.
struct Place {
    root: PathBuf,
    source: PathBuf,
    folder: PathBuf,
}

impl Place {
    fn new(name: &str) -> Place {
        let root =
            std::env::temp_dir().join(format!("sapwood-import-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(&root).expect("a temporary folder");
        let (source, folder) = (root.join("download.gguf"), root.join("models"));
        fs::write(&source, model(40)).expect("room");
        Place { root, source, folder }
    }

    fn import(&self, take: Take) -> Imported {
        import(&self.source, &self.folder, take).expect("nothing is wrong")
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.folder).expect("it was made");
        let mut names: Vec<String> = entries
            .map(|entry| entry.expect("listed").file_name().into_string().expect("text"))
            .collect();
        names.sort();
        names
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

/// A sound file of this many kilobytes.
fn model(kilobytes: usize) -> Vec<u8> {
    let mut writer = GgufWriter::new();
    writer.put("general.name", "x".repeat(kilobytes << 10).as_str());
    writer.to_bytes()
}

fn bytes_at(path: &Path) -> Result<Vec<u8>, MapError> {
    Ok(Mapped::open(path)?.bytes().to_vec())
}

/// As a careless program does it, whatever the permissions say.
fn open_to_write(path: &Path) -> fs::File {
    let mut permissions = fs::metadata(path).expect("it is there").permissions();
    #[cfg(unix)]
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o600);
    #[cfg(not(unix))]
    permissions.set_readonly(false);
    fs::set_permissions(path, permissions).expect("our own file");
    fs::File::options().write(true).open(path).expect("our own file")
}

fn altered(path: &Path) -> bool {
    matches!(Mapped::open(path), Err(MapError::Altered { .. }))
}

#[test]
fn a_model_is_named_by_its_digest_and_is_there_once() {
    let place = Place::new("once");
    let imported = place.import(Take::Copy);
    let bytes = model(40);
    assert_eq!(imported.digest.as_slice(), digest(&SHA256, &bytes).as_ref());
    assert_eq!(bytes_at(&imported.path).expect("whole"), bytes);
    assert!(fs::metadata(&imported.path).expect("there").permissions().readonly());
    let names = place.names();
    assert_eq!(names.len(), 2, "{names:?}");
    for take in BOTH {
        assert_eq!(place.import(take), imported);
        assert_eq!(place.names(), names);
    }
    assert_eq!(import(&imported.path, &place.folder, Take::Link).expect("itself"), imported);
    fs::write(&place.source, model(41)).expect("it was never linked, so it is writable");
    assert_ne!(place.import(Take::Link), imported);
    assert_eq!(place.names().len(), 4);
}

#[test]
fn what_becomes_of_the_source_does_not_matter() {
    for take in BOTH {
        let place = Place::new(if take == Take::Link { "linked" } else { "copied" });
        let imported = place.import(take);
        let mapped = Mapped::open(&imported.path).expect("whole");
        if take == Take::Copy {
            assert!(!fs::metadata(&place.source).expect("there").permissions().readonly());
            open_to_write(&place.source).set_len(3).expect("writable");
        } else {
            assert!(fs::metadata(&place.source).expect("there").permissions().readonly());
            fs::write(place.root.join("new"), b"another").expect("room");
            fs::rename(place.root.join("new"), &place.source).expect("replaced");
        }
        fs::remove_file(&place.source).expect("it was there");
        assert_eq!(mapped.bytes(), model(40));
        assert_eq!(bytes_at(&imported.path).expect("whole"), model(40));
    }
}

#[test]
fn a_source_that_is_refused_stays_as_it_was() {
    for take in BOTH {
        let place = Place::new(if take == Take::Link { "refused-1" } else { "refused-2" });
        fs::write(&place.source, &model(40)[..1000]).expect("room");
        import(&place.source, &place.folder, take).expect_err("a download that was cut");
        assert!(!fs::metadata(&place.source).expect("there").permissions().readonly());
        assert_eq!(fs::read(&place.source).expect("there"), model(40)[..1000]);
        assert!(place.names().is_empty());
    }
}

#[test]
fn whoever_writes_to_an_imported_model_is_noticed_before_it_is_mapped() {
    for take in BOTH {
        let place = Place::new(if take == Take::Link { "written-1" } else { "written-2" });
        let path = place.import(take).path;
        open_to_write(&path).set_len(20_000).expect("truncated");
        assert!(altered(&path));
        // A new download makes it whole again.
        fs::remove_file(&place.source).expect("it was there");
        fs::write(&place.source, model(40)).expect("room");
        assert_eq!(place.import(take).path, path);
        assert_eq!(bytes_at(&path).expect("whole"), model(40));
        // The same size and the old time of writing: the inode knows.
        let written = fs::metadata(&path).expect("there").modified().expect("it has one");
        let mut file = open_to_write(&path);
        file.write_all(b"GGUX").expect("writable");
        file.set_modified(written).expect("our own file");
        assert!(altered(&path));
        let error = Mapped::open(&path).expect_err("altered").to_string();
        assert!(error.contains("import the model again"), "{error}");
    }
}

#[test]
fn another_file_in_its_place_is_taken_only_for_the_same_bytes() {
    let place = Place::new("swapped");
    let path = place.import(Take::Copy).path;
    let seen = PathBuf::from(format!("{}.seen", path.display()));
    let first = fs::read_to_string(&seen).expect("recorded");
    let swap = |bytes: &[u8]| {
        let new = place.root.join("new");
        fs::write(&new, bytes).expect("room");
        fs::rename(&new, &path).expect("replaced");
    };
    let mut other = model(40);
    *other.last_mut().expect("long") ^= 1;
    swap(&other);
    assert!(altered(&path));
    assert_eq!(fs::read_to_string(&seen).expect("recorded"), first, "what is refused is not seen");
    // As a backup brings it back.
    swap(&model(40));
    assert_eq!(bytes_at(&path).expect("the same bytes"), model(40));
    assert_ne!(fs::read_to_string(&seen).expect("recorded"), first);
    // The record is no more than a memory.
    for record in ["", "sapwood import 1\n1 2 3\n"] {
        fs::write(&seen, record).expect("room");
        assert_eq!(bytes_at(&path).expect("the same bytes"), model(40));
    }
    swap(&other);
    fs::remove_file(&seen).expect("recorded");
    assert!(altered(&path));
}

#[test]
fn what_is_no_model_stays_outside() {
    let place = Place::new("refused");
    let whole = model(40);
    for take in BOTH {
        fs::write(&place.source, &whole[..whole.len() / 2]).expect("room");
        assert!(matches!(import(&place.source, &place.folder, take), Err(ImportError::Gguf(_))));
        fs::remove_file(&place.source).expect("ours");
        let missing = import(&place.source, &place.folder, take);
        assert!(matches!(missing, Err(ImportError::Map(MapError::NotFound { .. }))));
        let folder = import(&place.root, &place.folder, take);
        assert!(matches!(folder, Err(ImportError::Map(MapError::NotRegularFile { .. }))));
    }
    assert_eq!(place.names(), Vec::<String>::new());
}

#[test]
fn what_a_killed_import_left_goes_with_the_next_one() {
    let place = Place::new("killed");
    fs::create_dir_all(&place.folder).expect("room");
    fs::write(place.folder.join("1-0.part"), b"half").expect("room");
    place.import(Take::Copy);
    assert!(place.names().iter().all(|name| !name.ends_with(".part")), "{:?}", place.names());
}

#[cfg(unix)]
#[test]
fn a_symbolic_link_is_followed() {
    let place = Place::new("symbolic");
    let link = place.root.join("link");
    std::os::unix::fs::symlink(&place.source, &link).expect("links");
    let imported = import(&link, &place.folder, Take::Link).expect("followed");
    assert!(fs::symlink_metadata(&imported.path).expect("there").is_file());
    assert_eq!(bytes_at(&imported.path).expect("whole"), model(40));
}

/// Names the place of the child that may not write much.
const CHILD: &str = "SAPWOOD_IMPORT_CHILD";

/// A process that may write files of no more than 16 KB finds the disk full.
#[cfg(unix)]
#[test]
fn a_full_disk_leaves_nothing_half() {
    if let Some(root) = std::env::var_os(CHILD) {
        let root = PathBuf::from(root);
        let full = import(root.join("download.gguf"), root.join("models"), Take::Copy);
        let error = full.expect_err("40 KB into 16");
        assert!(matches!(error, ImportError::NoRoom { bytes: 40_000.., .. }), "{error:?}");
        // A link takes no room, and the record of it hardly any.
        import(root.join("download.gguf"), root.join("linked"), Take::Link)
            .expect("no room needed");
        return;
    }
    let place = Place::new("full");
    let me = std::env::current_exe().expect("it runs");
    let status = std::process::Command::new("sh")
        .args([
            "-c",
            "trap '' XFSZ; ulimit -f 32; exec \"$0\" --exact a_full_disk_leaves_nothing_half",
        ])
        .arg(me)
        .env(CHILD, &place.root)
        .stdout(std::process::Stdio::null())
        .status()
        .expect("every Unix has a shell");
    assert!(status.success(), "{status}");
    assert_eq!(place.names(), Vec::<String>::new());
    assert_eq!(place.import(Take::Copy).path.parent(), Some(place.folder.as_path()));
}
