import Foundation
import Sapwood

/// The folder of all that a learner keeps.
public enum LearnerFolder {
    /// The folder of this name in the app's own support folder, made if it is absent.
    ///
    /// It is readable from the first unlock after a restart on, so that a locked device can train at
    /// night, and it is in no backup: a restored one would bring back what was forgotten. Don't put
    /// it into the container of an app group: iOS ends an app that is suspended while it holds a
    /// lock on a file there, and the learner locks its folder.
    public static func prepare(_ name: String = "sapwood", in parent: URL? = nil) throws -> URL {
        let files = FileManager.default
        let support = try parent ?? files.url(
            for: .applicationSupportDirectory, in: .userDomainMask, appropriateFor: nil,
            create: true)
        var folder = support.appendingPathComponent(name, isDirectory: true)
        try files.createDirectory(at: folder, withIntermediateDirectories: true)
        #if os(iOS) || os(visionOS)
        try files.setAttributes(
            [.protectionKey: FileProtectionType.completeUntilFirstUserAuthentication],
            ofItemAtPath: folder.path)
        #endif
        var values = URLResourceValues()
        values.isExcludedFromBackup = true
        try folder.setResourceValues(values)
        return folder
    }
}

#if canImport(Security) && canImport(CryptoKit)
extension Config {
    /// A folder of the app's own, made at the first call, and keys in the Keychain: what most apps
    /// want. Change the rest as you like before you open a learner with it.
    public static func onDevice(_ name: String = "sapwood") throws -> Config {
        Config(folder: try LearnerFolder.prepare(name).path, keyProvider: KeychainKeys(name))
    }
}
#endif
