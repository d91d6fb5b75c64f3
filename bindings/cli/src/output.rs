//! Results on stdout, as text or as one JSON object.

use std::io::Write;

use serde_json::Value;

/// What a command ends with when it could not do what was asked.
pub type Failure = Box<dyn std::error::Error>;

/// How results are printed.
#[derive(clap::Args)]
pub struct Format {
    /// Print one JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

impl Format {
    /// Prints `value` as JSON, or what `text` says of it.
    pub fn print(&self, value: &Value, text: impl FnOnce() -> String) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        if self.json {
            serde_json::to_writer_pretty(&mut out, value)?;
            writeln!(out)?;
        } else {
            writeln!(out, "{}", text().trim_end())?;
        }
        Ok(())
    }
}

/// Peak resident memory of this process in MiB, where the system tells.
pub fn peak_rss_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib / 1024.0)
}

/// A number rounded for people and for stable output.
pub fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}
