//! GPUs and drivers that are known to fail: reads `blocklist.txt`.

/// What is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Without {
    /// The adapter.
    Gpu,
    /// Kernels with subgroup operations.
    Subgroups,
}

/// A line of the file; `*` became the empty string, which every name contains.
struct Entry<'a> {
    vendor: Option<u32>,
    adapter: &'a str,
    driver: &'a str,
    version: &'a str,
    without: Without,
    reason: &'a str,
}

const FILE: &str = include_str!("blocklist.txt");

/// Why something is not used with an adapter, if it is listed.
pub(super) fn reason(without: Without, info: &wgpu::AdapterInfo) -> Option<&'static str> {
    let listed = |entry: &Entry<'_>| {
        entry.without == without
            && entry.vendor.is_none_or(|vendor| vendor == info.vendor)
            && info.name.contains(entry.adapter)
            && info.driver.contains(entry.driver)
            && info.driver_info.starts_with(entry.version)
    };
    entries(FILE).find(listed).map(|entry| entry.reason)
}

/// The entries of a file. A line that is none is left out: the tests don't let one in.
fn entries(file: &str) -> impl Iterator<Item = Entry<'_>> {
    let lines = file.lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).filter_map(entry)
}

fn entry(line: &str) -> Option<Entry<'_>> {
    let mut fields = line.splitn(6, '|').map(str::trim);
    let vendor = fields.next()?;
    let mut name = || fields.next().map(|name| if name == "*" { "" } else { name });
    Some(Entry {
        vendor: match vendor {
            "*" => None,
            vendor => Some(u32::from_str_radix(vendor, 16).ok()?),
        },
        adapter: name()?,
        driver: name()?,
        version: name()?,
        without: match fields.next()? {
            "gpu" => Without::Gpu,
            "subgroups" => Without::Subgroups,
            _ => return None,
        },
        reason: fields.next().filter(|reason| !reason.is_empty())?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapter(vendor: u32, name: &str) -> wgpu::AdapterInfo {
        let mut info = wgpu::AdapterInfo::new(wgpu::DeviceType::Other, wgpu::Backend::Vulkan);
        (info.vendor, info.name) = (vendor, name.into());
        info
    }

    #[test]
    fn every_line_is_an_entry() {
        let lines = FILE.lines().filter(|line| line.contains('|') && !line.starts_with('#'));
        for line in lines.clone() {
            assert!(entry(line).is_some(), "{line}");
        }
        assert_eq!(entries(FILE).count(), lines.count());
    }

    #[test]
    fn a_line_that_is_no_entry_is_seen() {
        for line in [
            "1010 | CXTP | * | * | gpu",
            "1010 | CXTP | * | * | gpu |",
            "1010 | CXTP | * | * | everything | it crashes",
            "ten | CXTP | * | * | gpu | it crashes",
        ] {
            assert!(entry(line).is_none(), "{line}");
        }
    }

    #[test]
    fn only_what_is_listed_is_refused() {
        let refused = |vendor, name| reason(Without::Gpu, &adapter(vendor, name)).is_some();
        assert!(refused(0x1010, "PowerVR C-Series CXTP-48-1536"));
        assert!(!refused(0x1010, "PowerVR B-Series BXM-8-256"));
        assert!(!refused(0x10de, "CXTP"));
        assert!(!refused(0x5143, "Adreno (TM) 750"));
        let known = reason(Without::Subgroups, &adapter(0x5143, "Adreno (TM) 750"));
        assert!(known.is_some_and(|why| why.contains("29165")));
    }

    #[test]
    fn an_entry_holds_for_its_driver_and_versions() {
        let line = "* | A | mesa | 25. | gpu | it crashes";
        let entry = entry(line).unwrap();
        assert_eq!((entry.vendor, entry.driver, entry.version), (None, "mesa", "25."));
        assert_eq!((entry.without, entry.reason), (Without::Gpu, "it crashes"));
    }
}
