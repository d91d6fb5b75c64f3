#if canImport(Security) && canImport(CryptoKit)
import CryptoKit
import Foundation
import Sapwood
import Security

/// The keys of one store in the Keychain: one item per epoch. What is forgotten loses its key for
/// good.
///
/// The keys never leave the device, and they can be read from the first unlock after a restart on:
/// also at night, when a locked device trains. They survive the app: after it was deleted and
/// installed again there is no store, and the first opening makes new keys in their place.
public final class KeychainKeys: KeyProvider {
    private let store: String

    public init(_ store: String = "sapwood") {
        self.store = store
    }

    public func createEpoch(epoch: UInt64) throws {
        try destroyEpoch(epoch: epoch)
        var item = query(epoch)
        item[kSecValueData as String] = SymmetricKey(size: .bits256).withUnsafeBytes { Data($0) }
        item[kSecAttrAccessible as String] = kSecAttrAccessibleAfterFirstUnlockThisDeviceOnly
        try check(SecItemAdd(item as CFDictionary, nil))
    }

    public func wrap(epoch: UInt64, secret: Data) throws -> Data {
        guard let sealed = try AES.GCM.seal(secret, using: key(epoch)).combined else {
            throw KeyProviderError.Failed
        }
        return sealed
    }

    public func unwrap(epoch: UInt64, wrapped: Data) throws -> Data {
        let key = try key(epoch)
        do {
            return try AES.GCM.open(AES.GCM.SealedBox(combined: wrapped), using: key)
        } catch {
            throw KeyProviderError.Permanent
        }
    }

    public func destroyEpoch(epoch: UInt64) throws {
        try delete(query(epoch))
    }

    /// Destroys all keys of the store: nobody can read it again, wherever a copy of it is.
    public func destroyAll() throws {
        try delete(query())
    }

    private func key(_ epoch: UInt64) throws -> SymmetricKey {
        var wanted = query(epoch)
        wanted[kSecReturnData as String] = true
        wanted[kSecMatchLimit as String] = kSecMatchLimitOne
        var found: CFTypeRef?
        try check(SecItemCopyMatching(wanted as CFDictionary, &found))
        guard let key = found as? Data, key.count == 32 else { throw KeyProviderError.Permanent }
        return SymmetricKey(data: key)
    }

    private func delete(_ items: [String: Any]) throws {
        let status = SecItemDelete(items as CFDictionary)
        if status != errSecItemNotFound { try check(status) }
    }

    /// The item of an epoch, or those of all.
    private func query(_ epoch: UInt64? = nil) -> [String: Any] {
        var query: [String: Any] = [
            kSecClass as String: kSecClassGenericPassword,
            kSecAttrService as String: "sapwood.keys.\(store)",
            kSecAttrSynchronizable as String: false,
            kSecUseDataProtectionKeychain as String: true,
        ]
        if let epoch { query[kSecAttrAccount as String] = "\(epoch)" }
        return query
    }

    /// What may pass must not look like a lost key, or an app would give up what it could read
    /// tomorrow.
    private func check(_ status: OSStatus) throws {
        switch status {
        case errSecSuccess: return
        case errSecItemNotFound: throw KeyProviderError.Permanent
        case errSecUserCanceled, errSecAuthFailed: throw KeyProviderError.Denied
        case errSecMissingEntitlement, errSecParam: throw KeyProviderError.Failed
        default: throw KeyProviderError.Unavailable
        }
    }
}
#endif
