#if canImport(Security)
import Foundation
import Security

/// The key that seals a learner's folder, in the Keychain.
///
/// It never leaves the device, and it can be read from the first unlock after a restart on: also at
/// night, when a locked device trains.
public enum LearnerKey {
    public enum Failure: Error, Equatable {
        /// The device was not unlocked since it was started: try again when it is.
        case locked
        /// Something else is kept under this name: use another one.
        case notAKey
        /// The Keychain refused, for a reason that its code tells.
        case keychain(OSStatus)
    }

    /// The key of this name, made by the first call.
    public static func load(_ name: String = "sapwood") throws -> Data {
        if let key = try find(name) { return key }
        let key = try random()
        var item = query(name)
        item[kSecValueData as String] = key
        item[kSecAttrAccessible as String] = kSecAttrAccessibleAfterFirstUnlockThisDeviceOnly
        let status = SecItemAdd(item as CFDictionary, nil)
        // Made by somebody else in the meantime: theirs holds.
        if status == errSecDuplicateItem, let key = try find(name) { return key }
        try check(status)
        return key
    }

    /// Removes the key. What it sealed can't be read again by anyone, wherever a copy of it is.
    public static func delete(_ name: String = "sapwood") throws {
        let status = SecItemDelete(query(name) as CFDictionary)
        if status != errSecItemNotFound { try check(status) }
    }

    private static func find(_ name: String) throws -> Data? {
        var wanted = query(name)
        wanted[kSecReturnData as String] = true
        wanted[kSecMatchLimit as String] = kSecMatchLimitOne
        var found: CFTypeRef?
        let status = SecItemCopyMatching(wanted as CFDictionary, &found)
        if status == errSecItemNotFound { return nil }
        try check(status)
        guard let key = found as? Data, key.count == 32 else { throw Failure.notAKey }
        return key
    }

    private static func random() throws -> Data {
        var bytes = [UInt8](repeating: 0, count: 32)
        try check(SecRandomCopyBytes(kSecRandomDefault, bytes.count, &bytes))
        return Data(bytes)
    }

    private static func query(_ name: String) -> [String: Any] {
        [
            kSecClass as String: kSecClassGenericPassword,
            kSecAttrService as String: "sapwood.key",
            kSecAttrAccount as String: name,
            kSecAttrSynchronizable as String: false,
            kSecUseDataProtectionKeychain as String: true,
        ]
    }

    private static func check(_ status: OSStatus) throws {
        switch status {
        case errSecSuccess: return
        case errSecInteractionNotAllowed: throw Failure.locked
        default: throw Failure.keychain(status)
        }
    }
}
#endif
