//! The files that the product is built from are built with `cfg(loom)` here, and here alone.

fn main() {
    println!("cargo::rustc-cfg=loom");
}
