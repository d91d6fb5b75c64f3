// Stands in for Apple's Security: a Keychain in memory that knows the calls and attributes which
// Sapwood uses, and refuses what the real one would.

import Foundation

public typealias CFDictionary = [String: Any]
public typealias CFTypeRef = Any
public typealias OSStatus = Int32

public let errSecSuccess: OSStatus = 0
public let errSecParam: OSStatus = -50
public let errSecItemNotFound: OSStatus = -25300
public let errSecDuplicateItem: OSStatus = -25299
public let errSecInteractionNotAllowed: OSStatus = -25308
public let errSecAuthFailed: OSStatus = -25293
public let errSecNotAvailable: OSStatus = -25291
public let errSecUserCanceled: OSStatus = -128
public let errSecMissingEntitlement: OSStatus = -34018

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

/// What a test sees of it.
public enum Keychain {
    nonisolated(unsafe) public static var items: [String: CFDictionary] = [:]
    /// What every call answers, if set. Locked is `errSecInteractionNotAllowed`, as before the first
    /// unlocking after a start.
    nonisolated(unsafe) public static var answer: OSStatus?

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
    if let answer = Keychain.answer { return answer }
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
    if let answer = Keychain.answer { return answer }
    guard let item = Keychain.items[name] else { return errSecItemNotFound }
    found?.pointee = item[kSecValueData]
    return errSecSuccess
}

/// Deletes the item of an account, or those of all accounts of a service.
public func SecItemDelete(_ query: CFDictionary) -> OSStatus {
    guard query[kSecClass] as? String == kSecClassGenericPassword,
        let service = query[kSecAttrService] as? String
    else { return errSecParam }
    if let answer = Keychain.answer { return answer }
    let found = Keychain.name(query).map { [$0] }
        ?? Keychain.items.keys.filter { $0.hasPrefix("\(service)/") }
    let gone = found.filter { Keychain.items.removeValue(forKey: $0) != nil }
    return gone.isEmpty ? errSecItemNotFound : errSecSuccess
}
