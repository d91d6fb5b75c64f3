import Foundation
import Sapwood
import XCTest

/// What opens a store: a key store of the app's, which forgets for good, or a passphrase.
final class KeyProviderTests: LearnerTestCase {
    private let keys = KeyStore()

    func testWhatIsForgottenLosesItsKey() async throws {
        let (learner, replies) = try await told()
        XCTAssertEqual(Array(keys.held.keys), [1])
        let receipt = try await learner.forget(scope: .reply(replyId: replies[0]))
        XCTAssertEqual(receipt.erasure, .shredded)
        XCTAssertEqual(Array(keys.held.keys), [2])
        let left = try await opened().samples().map(\.replyId)
        XCTAssertEqual(left, [replies[1]])
    }

    func testAKeyStoreThatIsLockedCostsNothing() async throws {
        let (learner, replies) = try await told()
        keys.refusal = KeyProviderError.Unavailable
        let receipt = try await learner.forget(scope: .reply(replyId: replies[0]))
        XCTAssertEqual(receipt.erasure, .pending)
        try await fails(4, "try again when the device is unlocked")
        keys.refusal = nil
        let again = try await opened()
        let left = try await again.samples().map(\.replyId)
        XCTAssertEqual(left, [replies[1]])
        _ = try await again.trainSlice(budget: 0)
        XCTAssertEqual(Array(keys.held.keys), [2])
    }

    func testWhatAKeyProviderThrowsIsToldWithWhatToDo() async throws {
        struct ToldNobody: Error {}
        _ = try await told()
        keys.refusal = KeyProviderError.Permanent
        try await fails(7, "move the folder away")
        keys.refusal = KeyProviderError.Denied
        try await fails(4, "ask the user")
        keys.refusal = ToldNobody()
        try await fails(1, "correct it")
        keys.refusal = nil
        let kept = try await opened().samples()
        XCTAssertEqual(kept.count, 2)
    }

    func testAPassphraseOpensWhatItSealed() async throws {
        func with(_ typed: String) async throws -> Learner {
            try await learner {
                $0.key = nil
                $0.passphrase = typed
            }
        }
        try await with("heartwood").setConsent(consent: .granted)
        let wrong = await thrown { try await with("heartwoof") }
        XCTAssertEqual((wrong as? LearnerError)?.code(), 7)
        let again = try await with("heartwood")
        XCTAssertEqual(try again.consent(), .granted)
        let both = await thrown { try await self.learner { $0.passphrase = "heartwood" } }
        XCTAssertEqual((both as? LearnerError)?.code(), 1)
    }

    private func opened() async throws -> Learner {
        let keys = keys
        return try await learner {
            $0.key = nil
            $0.keyProvider = keys
        }
    }

    /// A learner, and the ids of two replies that it keeps.
    private func told() async throws -> (Learner, [String]) {
        let learner = try await opened()
        try await learner.setConsent(consent: .granted)
        var replies: [String] = []
        for n in 0..<2 { replies.append(try await learner.ask("Triage: parcel \(n) is late").id) }
        return (learner, replies)
    }

    private func fails(_ code: UInt32, _ advice: String, line: UInt = #line) async throws {
        let caught = await thrown({ try await self.opened() }, line: line)
        let error = try XCTUnwrap(caught as? LearnerError, line: line)
        XCTAssertEqual(error.code(), code, line: line)
        XCTAssertTrue("\(error)".contains(advice), "\(error)", line: line)
        XCTAssertFalse("\(error)".contains("ToldNobody"), "\(error)", line: line)
    }
}

/// Keys in memory. What it seals is the secret, changed by the key, and a sum: no cipher, but enough
/// to tell whether a key is the right one.
private final class KeyStore: KeyProvider, @unchecked Sendable {
    var held: [UInt64: [UInt8]] = [:]
    var refusal: (any Error)?

    func createEpoch(epoch: UInt64) throws {
        try refuse()
        held[epoch] = (0..<32).map { _ in .random(in: .min ... .max) }
    }

    func wrap(epoch: UInt64, secret: Data) throws -> Data {
        Data(zip(secret, try key(epoch)).map(^)) + [sum(secret)]
    }

    func unwrap(epoch: UInt64, wrapped: Data) throws -> Data {
        let secret = Data(zip(wrapped.dropLast(), try key(epoch)).map(^))
        guard sum(secret) == wrapped.last else { throw KeyProviderError.Permanent }
        return secret
    }

    func destroyEpoch(epoch: UInt64) throws {
        try refuse()
        held[epoch] = nil
    }

    private func key(_ epoch: UInt64) throws -> [UInt8] {
        try refuse()
        guard let key = held[epoch] else { throw KeyProviderError.Permanent }
        return key
    }

    private func sum(_ bytes: Data) -> UInt8 { bytes.reduce(7) { $0 &* 31 &+ $1 } }

    private func refuse() throws {
        if let refusal { throw refusal }
    }
}
