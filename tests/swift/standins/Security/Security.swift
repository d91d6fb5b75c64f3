// Stands in for Apple's Security: a Keychain in memory that knows the calls and attributes which
// Sapwood uses, and refuses what the real one would.

import Foundation

public typealias CFDictionary = [String: Any]
public typealias CFTypeRef = Any
public typealias OSStatus = Int32
public struct SecRandom: Sendable {}

public let errSecSuccess: OSStatus = 0
public let errSecParam: OSStatus = -50
public let errSecItemNotFound: OSStatus = -25300
public let errSecDuplicateItem: OSStatus = -25299
public let errSecInteractionNotAllowed: OSStatus = -25308

public let kSecClass = "class"
public let kSecClassGenericPassword = "genp"
public let kSecAttrService = "svce"
public let kSecAttrAccount = "acct"
public let kSecAttrSynchronizable = "sync"
public let kSecUseDataProtectionKeychain = "nleg"
public let kSecAttrAccessible = "pdmn"
public let kSecAttrAccessibleAfterFirstUnlockThisDeviceOnly = "cku"
public let kSecValueData = "v_Data"
public let kSecReturnData = "r_Data"
public let kSecMatchLimit = "m_Limit"
public let kSecMatchLimitOne = "m_LimitOne"
public let kSecRandomDefault: SecRandom? = nil

/// What a test sees of it.
public enum Keychain {
    nonisolated(unsafe) public static var items: [String: CFDictionary] = [:]
    /// Not unlocked since the device was started.
    nonisolated(unsafe) public static var locked = false
    /// Called before an item is added: somebody else may be faster.
    nonisolated(unsafe) public static var beforeAdding: () -> Void = {}

    /// Which item a query means; none: the query is not one for this Keychain.
    public static func name(_ query: CFDictionary) -> String? {
        guard query[kSecClass] as? String == kSecClassGenericPassword,
            let service = query[kSecAttrService] as? String,
            let account = query[kSecAttrAccount] as? String
        else { return nil }
        return "\(service)/\(account)"
    }
}

public func SecItemAdd(_ item: CFDictionary, _: UnsafeMutablePointer<CFTypeRef?>?) -> OSStatus {
    guard let name = Keychain.name(item), item[kSecValueData] is Data else { return errSecParam }
    if Keychain.locked { return errSecInteractionNotAllowed }
    Keychain.beforeAdding()
    if Keychain.items[name] != nil { return errSecDuplicateItem }
    Keychain.items[name] = item
    return errSecSuccess
}

public func SecItemCopyMatching(
    _ query: CFDictionary, _ found: UnsafeMutablePointer<CFTypeRef?>?
) -> OSStatus {
    guard let name = Keychain.name(query), query[kSecReturnData] as? Bool == true else {
        return errSecParam
    }
    guard let item = Keychain.items[name] else { return errSecItemNotFound }
    if Keychain.locked { return errSecInteractionNotAllowed }
    found?.pointee = item[kSecValueData]
    return errSecSuccess
}

public func SecItemDelete(_ query: CFDictionary) -> OSStatus {
    guard let name = Keychain.name(query) else { return errSecParam }
    return Keychain.items.removeValue(forKey: name) == nil ? errSecItemNotFound : errSecSuccess
}

public func SecRandomCopyBytes(
    _: SecRandom?, _ count: Int, _ bytes: UnsafeMutableRawPointer
) -> Int32 {
    var random = SystemRandomNumberGenerator()
    for n in 0..<count {
        bytes.storeBytes(of: .random(in: .min ... .max, using: &random), toByteOffset: n, as: UInt8.self)
    }
    return errSecSuccess
}
