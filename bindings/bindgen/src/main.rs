//! Writes what each language sees of `bindings/ffi`.
//!
//! ```text
//! sapwood-bindgen kotlin LIBRARY FOLDER    for the JVM
//! sapwood-bindgen android LIBRARY FOLDER   the same for Android
//! sapwood-bindgen swift LIBRARY FOLDER     with the header and the module map
//! sapwood-bindgen python LIBRARY FOLDER
//! sapwood-bindgen c FOLDER                 sapwood.h
//! ```
//!
//! LIBRARY is an unstripped `libsapwood.so`, `.dylib` or `.a`: it carries the interface's
//! description. The header comes from the source.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use camino::{Utf8Path, Utf8PathBuf};
use uniffi_bindgen::bindings::{GenerateOptions, TargetLanguage, generate_with_bindgen_paths};
use uniffi_bindgen::{BindgenPaths, BindgenPathsLayer};

/// Where the crate lies that the libraries are made of.
fn source() -> Utf8PathBuf {
    Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("../ffi")
}

/// Names, packages and modules are configured beside the source, in `uniffi.toml`.
struct Source;

impl BindgenPathsLayer for Source {
    fn get_crate_root(&self, crate_name: &str) -> Option<Utf8PathBuf> {
        (crate_name == "sapwood").then(source)
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        ["kotlin", library, folder] => uniffi(TargetLanguage::Kotlin, None, library, folder),
        ["android", library, folder] => {
            uniffi(TargetLanguage::Kotlin, Some("uniffi-android.toml"), library, folder)
        }
        ["swift", library, folder] => uniffi(TargetLanguage::Swift, None, library, folder),
        ["python", library, folder] => uniffi(TargetLanguage::Python, None, library, folder),
        ["c", folder] => header(Path::new(folder)),
        _ => {
            eprintln!(
                "usage: sapwood-bindgen kotlin|android|swift|python LIBRARY FOLDER\n\
                 \x20      sapwood-bindgen c FOLDER"
            );
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sapwood-bindgen: {error}");
            ExitCode::FAILURE
        }
    }
}

fn uniffi(
    language: TargetLanguage,
    overrides: Option<&str>,
    library: &str,
    folder: &str,
) -> Result<(), Box<dyn Error>> {
    let options = GenerateOptions {
        languages: vec![language],
        source: library.into(),
        out_dir: folder.into(),
        config_override: overrides.map(|name| source().join(name)),
        ..GenerateOptions::default()
    };
    let mut paths = BindgenPaths::default();
    paths.add_layer(Source);
    Ok(generate_with_bindgen_paths(options, paths).map_err(|error| format!("{error:#}"))?)
}

fn header(folder: &Path) -> Result<(), Box<dyn Error>> {
    cbindgen::generate(source())?.write_to_file(folder.join("sapwood.h"));
    Ok(())
}
