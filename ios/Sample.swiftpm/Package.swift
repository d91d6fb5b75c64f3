// swift-tools-version:5.9
//
// An app that Xcode opens as it is. `../build.sh` makes the framework first.

import AppleProductTypes
import PackageDescription

let package = Package(
    name: "Mail",
    platforms: [.iOS("17.0")],
    products: [
        .iOSApplication(
            name: "Mail",
            targets: ["Mail"],
            bundleIdentifier: "example.sapwood.mail",
            displayVersion: "0.1",
            bundleVersion: "1",
            appIcon: .placeholder(icon: .leaf),
            accentColor: .presetColor(.green),
            supportedDeviceFamilies: [.phone, .pad],
            supportedInterfaceOrientations: [.portrait, .landscapeLeft, .landscapeRight],
            additionalInfoPlistContentFilePath: "Info.plist"
        )
    ],
    dependencies: [.package(path: "..")],
    targets: [
        .executableTarget(
            name: "Mail",
            dependencies: [
                .product(name: "Sapwood", package: "ios"),
                .product(name: "SapwoodTasks", package: "ios"),
            ],
            path: ".",
            exclude: ["Info.plist"]
        )
    ]
)
