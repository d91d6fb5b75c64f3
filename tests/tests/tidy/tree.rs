//! What is in the tree, read once for all rules.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::source::Source;

/// The rules themselves, which name what they look for.
pub const RULES: &str = "tests/tests/tidy/";

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The path of every file that belongs to the repository or is about to, from the root on.
pub fn paths() -> &'static [String] {
    static PATHS: OnceLock<Vec<String>> = OnceLock::new();
    PATHS.get_or_init(|| {
        let mut paths = known_to_git().unwrap_or_else(|| {
            println!("git lists nothing here: what lies in the folder is taken for the repository");
            let mut found = Vec::new();
            walk(&root(), "", &mut found);
            found
        });
        paths.retain(|path| root().join(path).is_file());
        paths.sort();
        paths.dedup();
        assert!(paths.len() > 500, "only {} files found: the listing is broken", paths.len());
        paths
    })
}

fn known_to_git() -> Option<Vec<String>> {
    let mut git = Command::new("git");
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    // Under a hook they name the repository that it runs for.
    git.env_remove("GIT_DIR").env_remove("GIT_WORK_TREE").env_remove("GIT_INDEX_FILE");
    let listed = git.current_dir(root()).output().ok().filter(|output| output.status.success())?;
    let listed = String::from_utf8(listed.stdout).ok()?;
    Some(listed.split_terminator('\0').map(str::to_owned).collect())
}

fn walk(folder: &Path, name: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{name}{}", entry.file_name().to_string_lossy());
        if !entry.file_type().unwrap().is_dir() {
            found.push(path);
        } else if !path.ends_with(".git") && !path.ends_with("target") {
            walk(&entry.path(), &format!("{path}/"), found);
        }
    }
}

/// Path and text of every file with one of these extensions.
pub fn texts(extensions: &[&str]) -> Vec<(String, String)> {
    let extension = |path: &str| path.rsplit_once('.').map(|(_, extension)| extension.to_owned());
    let wanted =
        |path: &&String| extension(path).is_some_and(|found| extensions.contains(&found.as_str()));
    let read = |path: &String| {
        let text = fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
        (path.clone(), text)
    };
    paths().iter().filter(wanted).map(read).collect()
}

/// Every Rust source.
pub fn sources() -> &'static [Source] {
    static SOURCES: OnceLock<Vec<Source>> = OnceLock::new();
    SOURCES.get_or_init(|| {
        texts(&["rs"]).into_iter().map(|(path, text)| Source::new(&path, &text)).collect()
    })
}

/// Folder and text of every manifest of a package; the root's folder has no name.
pub fn manifests() -> Vec<(String, String)> {
    let folder =
        |path: &str| path.strip_suffix("Cargo.toml").map(|f| f.trim_end_matches('/').to_owned());
    let tomls = texts(&["toml"]).into_iter();
    tomls.filter_map(|(path, text)| Some((folder(&path)?, text))).collect()
}

/// Fails with every complaint at once, so that one run shows all there is to do.
pub fn nothing(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}
