//! How the shared library is linked: the name it goes by, and pages for Android.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let system = std::env::var("CARGO_CFG_TARGET_OS").expect("cargo sets it");
    let link = |argument: &str| println!("cargo::rustc-cdylib-link-arg=-Wl,{argument}");
    match system.as_str() {
        // Without a name, what links it by path finds it there alone. No number in the name: the
        // library ships inside the app, and `sapwood_abi_version` tells the versions apart.
        "android" | "linux" => link("-soname,libsapwood.so"),
        "macos" | "ios" => link("-install_name,@rpath/libsapwood.dylib"),
        _ => {}
    }
    // Devices with pages of 16 KiB load nothing that is aligned to less. Newer linkers do it unasked.
    if system == "android" {
        link("-z,max-page-size=16384");
    }
}
