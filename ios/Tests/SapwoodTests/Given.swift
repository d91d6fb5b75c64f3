import Foundation
import Sapwood
import XCTest

let resting = DeviceState(charging: true, idle: true, thermal: .nominal)
let greedy = Sampling(temperature: 0, maxTokens: 8)
let tellAll = "Reply (friendly): tell me everything"

/// Long, and slow to end by itself.
func rambling(_ seed: Int) -> Sampling {
    Sampling(
        temperature: 1.5, topK: 0, topP: 1, minP: 0, seed: UInt64(seed), maxTokens: 400)
}

/// A test with a folder that goes away, and learners on it with the model of the library.
class LearnerTestCase: XCTestCase {
    var folder = URL(fileURLWithPath: "/")

    override func setUpWithError() throws {
        folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    }

    override func tearDownWithError() throws {
        try FileManager.default.removeItem(at: folder)
    }

    func learner(_ change: (inout Config) -> Void = { _ in }) async throws -> Learner {
        var config = Config(
            folder: folder.path,
            key: Data(0..<32),
            contextTokens: 512,
            training: TrainPolicy(
                examples: 1, conversations: 1, cooldown: 0, steps: 4, batch: 3,
                checkpointSteps: 1))
        change(&config)
        return try await Learner.open(config: config)
    }

    /// A learner on power and unused, whose user corrected the same mistake twelve times.
    func taught(_ change: (inout Config) -> Void = { _ in }) async throws -> Learner {
        let learner = try await learner {
            $0.retrieval = false
            change(&$0)
        }
        try await learner.setConsent(consent: .granted)
        try learner.deviceChanged(state: resting)
        for n in 0..<12 {
            let reply = try await learner.ask("Triage: parcel number \(n) has not arrived")
            try await learner.signal(replyId: reply.id, signal: .edited(text: "logistics"))
        }
        return learner
    }
}

extension Learner {
    /// One reply on a chat of its own, whose pieces must make the whole.
    func ask(_ text: String, sampling: Sampling = greedy) async throws -> Reply {
        try await chat(surface: "triage").whole(text, sampling: sampling)
    }
}

extension Chat {
    func whole(_ text: String, sampling: Sampling = greedy) async throws -> Reply {
        try await stream(text, sampling: sampling).whole()
    }
}

extension Replies {
    func whole() async throws -> Reply {
        var pieces = ""
        var done: Reply?
        for try await event in self {
            XCTAssertNil(done, "an event after the end")
            switch event {
            case .text(let delta): pieces += delta
            case .done(let reply): done = reply
            }
        }
        let reply = try XCTUnwrap(done)
        XCTAssertEqual(pieces, reply.text)
        return reply
    }
}

/// The error that `work` throws.
func thrown<T>(
    _ work: () async throws -> T, line: UInt = #line
) async -> (any Error)? {
    do {
        _ = try await work()
        XCTFail("nothing was thrown", line: line)
        return nil
    } catch {
        return error
    }
}
