import Foundation
import Sapwood
import Security
import SapwoodTasks
import XCTest

/// The Keychain's keys: what they open, and when they are gone.
final class KeyTests: XCTestCase {
    private let keys = KeychainKeys()
    private let secret = Data(32..<64)
    private var items: Set<String> { Set(Keychain.items.keys) }

    override func setUp() {
        Keychain.items = [:]
        Keychain.answer = nil
    }

    func testEachEpochAndStoreHasAKeyOfItsOwnThatStaysOnTheDevice() throws {
        let others = KeychainKeys("mail")
        try keys.createEpoch(epoch: 1)
        try keys.createEpoch(epoch: 2)
        try others.createEpoch(epoch: 1)
        XCTAssertEqual(items, ["sapwood.keys.sapwood/1", "sapwood.keys.sapwood/2", "sapwood.keys.mail/1"])
        let item = try XCTUnwrap(Keychain.items["sapwood.keys.sapwood/1"])
        XCTAssertEqual((item[kSecValueData] as? Data)?.count, 32)
        XCTAssertEqual(
            item[kSecAttrAccessible] as? String, kSecAttrAccessibleAfterFirstUnlockThisDeviceOnly)
        XCTAssertEqual(item[kSecAttrSynchronizable] as? Bool, false)
        XCTAssertEqual(item[kSecUseDataProtectionKeychain] as? Bool, true)
        let wrapped = try keys.wrap(epoch: 1, secret: secret)
        XCTAssertEqual(try keys.unwrap(epoch: 1, wrapped: wrapped), secret)
        XCTAssertNotEqual(try keys.wrap(epoch: 1, secret: secret), wrapped)
        fails(.Permanent) { try self.keys.unwrap(epoch: 2, wrapped: wrapped) }
        fails(.Permanent) { try others.unwrap(epoch: 1, wrapped: wrapped) }
        for at in wrapped.indices {
            var damaged = wrapped
            damaged[at] ^= 1
            fails(.Permanent) { try self.keys.unwrap(epoch: 1, wrapped: damaged) }
            fails(.Permanent) { try self.keys.unwrap(epoch: 1, wrapped: wrapped.prefix(at)) }
        }
    }

    func testAKeyThatIsDestroyedOrMadeAnewOpensNothingMore() throws {
        try keys.createEpoch(epoch: 1)
        let first = try keys.wrap(epoch: 1, secret: secret)
        try keys.createEpoch(epoch: 1)
        fails(.Permanent) { try self.keys.unwrap(epoch: 1, wrapped: first) }
        let second = try keys.wrap(epoch: 1, secret: secret)
        try keys.destroyEpoch(epoch: 1)
        try keys.destroyEpoch(epoch: 1)
        fails(.Permanent) { try self.keys.unwrap(epoch: 1, wrapped: second) }
        fails(.Permanent) { try self.keys.wrap(epoch: 1, secret: self.secret) }
        Keychain.items["sapwood.keys.sapwood/1"] = [kSecValueData: Data(count: 5)]
        fails(.Permanent) { try self.keys.wrap(epoch: 1, secret: self.secret) }
    }

    func testAllKeysOfAStoreGoAtOnceAndNoOthers() throws {
        for epoch in [1, 12, UInt64.max] { try keys.createEpoch(epoch: epoch) }
        try KeychainKeys("sapwood.mail").createEpoch(epoch: 3)
        try keys.destroyAll()
        try keys.destroyAll()
        XCTAssertEqual(items, ["sapwood.keys.sapwood.mail/3"])
    }

    func testWhatMayPassIsNotCalledLost() throws {
        try keys.createEpoch(epoch: 1)
        let wrapped = try keys.wrap(epoch: 1, secret: secret)
        let answers: [(OSStatus, KeyProviderError)] = [
            (errSecInteractionNotAllowed, .Unavailable), (errSecNotAvailable, .Unavailable),
            (errSecUserCanceled, .Denied), (errSecAuthFailed, .Denied),
            (errSecMissingEntitlement, .Failed),
        ]
        for (answer, expected) in answers {
            Keychain.answer = answer
            fails(expected) { try self.keys.createEpoch(epoch: 2) }
            fails(expected) { try self.keys.wrap(epoch: 1, secret: self.secret) }
            fails(expected) { try self.keys.unwrap(epoch: 1, wrapped: wrapped) }
            fails(expected) { try self.keys.destroyEpoch(epoch: 1) }
        }
        Keychain.answer = nil
        XCTAssertEqual(try keys.unwrap(epoch: 1, wrapped: wrapped), secret)
    }

    func testTheFolderOnTheDeviceIsMadeOnceAndOpensWithTheKeychain() async throws {
        let parent = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        defer { try? FileManager.default.removeItem(at: parent) }
        let folder = try LearnerFolder.prepare("sapwood", in: parent)
        XCTAssertEqual(try LearnerFolder.prepare("sapwood", in: parent), folder)
        var config = try Config.onDevice(UUID().uuidString)
        try FileManager.default.removeItem(atPath: config.folder)
        XCTAssertTrue(config.keyProvider is KeychainKeys)
        config.folder = folder.path
        _ = try await Learner.open(config: config)
        XCTAssertEqual(items.count, 1)
    }

    func testWhatIsForgottenLosesItsKeyAndALockedKeychainWipesNothing() async throws {
        let parent = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        defer { try? FileManager.default.removeItem(at: parent) }
        let config = Config(folder: parent.path, keyProvider: keys, contextTokens: 512)
        var learner: Learner? = try await Learner.open(config: config)
        try await learner?.setConsent(consent: .granted)
        for n in 0..<3 { try await say(learner, "Triage: parcel \(n) is late") }
        let kept = try await learner?.samples().map(\.replyId) ?? []
        XCTAssertEqual(items, ["sapwood.keys.sapwood/1"])
        let shredded = try await learner?.forget(scope: .reply(replyId: kept[0]))
        XCTAssertEqual(shredded?.erasure, .shredded)
        XCTAssertEqual(items, ["sapwood.keys.sapwood/2"])

        Keychain.answer = errSecInteractionNotAllowed
        let pending = try await learner?.forget(scope: .reply(replyId: kept[1]))
        XCTAssertEqual(pending?.erasure, .pending)
        learner = nil
        do {
            _ = try await Learner.open(config: config)
            XCTFail("opened while locked")
        } catch LearnerError.Busy(let detail) {
            XCTAssertTrue(detail.contains("try again when the device is unlocked"), detail)
        }
        Keychain.answer = nil
        let again = try await Learner.open(config: config)
        let left = try await again.samples().map(\.replyId)
        XCTAssertEqual(left, [kept[2]])
        _ = try await again.trainSlice(budget: 0)
        XCTAssertEqual(items, ["sapwood.keys.sapwood/3"])
    }

    private func say(_ learner: Learner?, _ text: String) async throws {
        let chat = try learner?.chat(surface: "triage")
        for try await _ in try XCTUnwrap(chat).stream(text, sampling: Sampling(maxTokens: 2)) {}
    }

    private func fails<T>(
        _ expected: KeyProviderError, line: UInt = #line, _ call: () throws -> T
    ) {
        XCTAssertThrowsError(try call(), line: line) {
            XCTAssertEqual($0 as? KeyProviderError, expected, line: line)
        }
    }
}
