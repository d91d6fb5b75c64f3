// swift-tools-version:5.9
//
// The Swift package of ios/ together with stand-ins for the few interfaces of Apple's that it uses,
// so that all of it compiles, and its logic runs, where there is no Apple SDK. `tests/run` puts a
// copy of ios/ beside this file, with the interface and the library in it.

import PackageDescription

let library = "\(Context.packageDirectory)/ios/lib"
let strict: [SwiftSetting] = [.enableExperimentalFeature("StrictConcurrency")]

func standIn(_ name: String, _ settings: [SwiftSetting] = []) -> Target {
    .target(name: name, path: "standins/\(name)", swiftSettings: settings)
}

let package = Package(
    name: "SapwoodChecks",
    targets: [
        .systemLibrary(name: "SapwoodFFI", path: "ios/Sources/SapwoodFFI"),
        standIn("BackgroundTasks"),
        standIn("CryptoKit"),
        standIn("Security"),
        standIn("UIKit"),
        // The version is what `canImport` asks for.
        standIn("FoundationModels", [.unsafeFlags(["-user-module-version", "2.0"])]),
        .target(
            name: "Sapwood",
            dependencies: ["SapwoodFFI", "FoundationModels"],
            path: "ios/Sources/Sapwood",
            exclude: ["PrivacyInfo.xcprivacy"],
            swiftSettings: strict,
            linkerSettings: [
                .unsafeFlags(["-L\(library)", "-lsapwood", "-Xlinker", "-rpath", "-Xlinker", library])
            ]
        ),
        .target(
            name: "SapwoodTasks",
            dependencies: ["Sapwood", "BackgroundTasks", "CryptoKit", "Security", "UIKit"],
            path: "ios/Sources/SapwoodTasks",
            swiftSettings: strict
        ),
        // The sample's model, which knows no views.
        .target(
            name: "Assistant",
            dependencies: ["Sapwood"],
            path: "ios/Sample.swiftpm",
            exclude: ["Info.plist", "Package.swift", "MailApp.swift", "ReplyView.swift", "LearnedView.swift"],
            swiftSettings: strict
        ),
        .testTarget(
            name: "SapwoodTests", dependencies: ["Sapwood"], path: "ios/Tests/SapwoodTests"),
        .testTarget(
            name: "ChecksTests",
            dependencies: ["SapwoodTasks", "Assistant", "FoundationModels"],
            path: "tests",
            // Observation of Swift 6.0 on Linux refers to a function that no library has.
            linkerSettings: [.unsafeFlags(["-Xlinker", "--allow-shlib-undefined"])]
        ),
    ]
)
