// swift-tools-version:5.9
//
// `build.sh` makes what is missing here: the interface in Sources/Sapwood/Generated, and either
// the framework for iPhone and simulator or, with `build.sh host`, a library for this machine.

import Foundation
import PackageDescription

let framework = "SapwoodFFI.xcframework"
let made = FileManager.default.fileExists(atPath: "\(Context.packageDirectory)/\(framework)")
let library = "\(Context.packageDirectory)/lib"

/// The library in Rust: a dynamic framework, so that it can't clash with anything else in an app.
let ffi: Target =
    made
    ? .binaryTarget(name: "SapwoodFFI", path: framework)
    : .systemLibrary(name: "SapwoodFFI", path: "Sources/SapwoodFFI")
let linking: [LinkerSetting] =
    made ? [] : [.unsafeFlags(["-L\(library)", "-lsapwood", "-Xlinker", "-rpath", "-Xlinker", library])]

let package = Package(
    name: "Sapwood",
    platforms: [.iOS(.v15), .macOS(.v12)],
    products: [
        .library(name: "Sapwood", targets: ["Sapwood"]),
        .library(name: "SapwoodTasks", targets: ["SapwoodTasks"]),
    ],
    targets: [
        ffi,
        .target(
            name: "Sapwood",
            dependencies: ["SapwoodFFI"],
            resources: [.copy("PrivacyInfo.xcprivacy")],
            swiftSettings: [.enableExperimentalFeature("StrictConcurrency")],
            linkerSettings: linking
        ),
        .target(
            name: "SapwoodTasks",
            dependencies: ["Sapwood"],
            swiftSettings: [.enableExperimentalFeature("StrictConcurrency")]
        ),
        .testTarget(name: "SapwoodTests", dependencies: ["Sapwood"]),
    ]
)
