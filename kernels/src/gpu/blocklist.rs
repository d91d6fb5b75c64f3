//! GPUs and drivers that are known to fail, as data.

/// A GPU, or a driver of one, that is not used.
struct Blocked {
    /// PCI vendor.
    vendor: u32,
    /// What the adapter's name contains.
    name: &'static str,
    /// What the driver's version begins with; empty for every version.
    driver: &'static str,
    /// Why, with its source.
    reason: &'static str,
}

const IMAGINATION: u32 = 0x1010;

const BLOCKED: [Blocked; 1] = [Blocked {
    vendor: IMAGINATION,
    name: "CXTP",
    driver: "",
    reason: "its firmware crashes on compute shaders (llama.cpp, issue 28214)",
}];

/// Why an adapter is not used, if it is listed.
pub(super) fn reason(vendor: u32, name: &str, driver: &str) -> Option<&'static str> {
    let listed = |blocked: &&Blocked| {
        blocked.vendor == vendor
            && name.contains(blocked.name)
            && driver.starts_with(blocked.driver)
    };
    BLOCKED.iter().find(listed).map(|blocked| blocked.reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_listed_is_refused() {
        assert!(reason(IMAGINATION, "PowerVR C-Series CXTP-48-1536", "1.1").is_some());
        assert!(reason(IMAGINATION, "PowerVR B-Series BXM-8-256", "1.1").is_none());
        assert!(reason(0x10de, "CXTP", "1.1").is_none());
    }
}
