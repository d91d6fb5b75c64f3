import Foundation
import Sapwood
import XCTest

/// A learner on a folder that goes away with the test.
func opened(_ test: XCTestCase, taught: Bool = false) async throws -> Learner {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
    test.addTeardownBlock { try FileManager.default.removeItem(at: folder) }
    let training = TrainPolicy(
        examples: 1, conversations: 1, cooldown: 0, steps: taught ? 100_000 : 4, passes: .max, batch: 3,
        checkpointSteps: 1)
    let learner = try await Learner.open(
        config: Config(
            folder: folder.path, key: Data(0..<32), contextTokens: 512, retrieval: false,
            training: training))
    guard taught else { return learner }
    try await learner.setConsent(consent: .granted)
    for n in 0..<12 {
        let chat = try learner.chat(surface: "triage")
        let sampling = Sampling(temperature: 0, maxTokens: 8)
        for try await event in chat.stream("Triage: parcel \(n) is late", sampling: sampling) {
            guard case .done(let reply) = event else { continue }
            try await learner.signal(replyId: reply.id, signal: .edited(text: "logistics"))
        }
    }
    return learner
}

/// Waits until it holds, for ten seconds at most.
func eventually(
    _ what: String, line: UInt = #line, _ holds: @Sendable () async throws -> Bool
) async throws {
    for _ in 0..<1000 {
        if try await holds() { return }
        try await Task.sleep(nanoseconds: 10_000_000)
    }
    XCTFail("never: \(what)", line: line)
}
