import Foundation
import Sapwood
import XCTest

/// What goes wrong, and what an app is told.
final class ErrorTests: LearnerTestCase {
    func testErrorsAreTypedNumberedAndExplained() async throws {
        let learner = try await learner()
        try await fails(1) { _ = try await self.learner { $0.key = Data(count: 5) } }
        try await fails(1) {
            try await learner.signal(replyId: "?", signal: .accepted)
        }
        try await fails(1) {
            _ = try await learner.ask("x", sampling: Sampling(topP: 2))
        }
        try await fails(2) {
            _ = try await learner.ask(String(repeating: "x", count: 9999))
        }
        try await fails(3) { _ = try await learner.rollback() }
        try await fails(5) {
            _ = try await self.learner { $0.model = "/nowhere.gguf" }
        }
        try await fails(6) { _ = try await learner.stage(adapter: Data(count: 9)) }
        try await fails(7) { _ = try await self.learner { $0.key = Data(count: 32) } }
        try await fails(8) {
            _ = try await self.learner { $0.folder = "/proc/nothing" }
        }
    }

    func testAnErrorEndsTheSequenceAndLeavesTheChatUsable() async throws {
        let chat = try await learner().chat(surface: "triage")
        let long = String(repeating: "x", count: 9999)
        try await fails(2) { _ = try await chat.whole(long) }
        _ = try await chat.whole("Triage: it crashes")
    }

    #if FAULTS
    /// Needs a library with the feature `faults`, whose `panicInside` panics as a bug would.
    func testAPanicIsAnErrorAndTheLearnerOpensAgain() async throws {
        let learner = try await learner()
        let chat = try learner.chat(surface: "triage")
        try await fails(9) { try learner.panicInside() }
        try await fails(9) { _ = try await learner.samples() }
        try await fails(9) { _ = try await chat.whole("Triage: it crashes") }
        let reply = try await self.learner().ask("Triage: I want my money back")
        XCTAssertEqual(reply.text, "returns")
    }
    #endif

    private func fails(
        _ code: UInt32, line: UInt = #line, _ work: () async throws -> Void
    ) async throws {
        let caught = await thrown(work, line: line)
        let error = try XCTUnwrap(caught as? LearnerError, line: line)
        XCTAssertEqual(number(of: error), code, line: line)
        XCTAssertEqual(error.code(), code, line: line)
        XCTAssertGreaterThan("\(error)".count, 5, line: line)
        XCTAssertFalse("\(error)".contains("detail:"), "\(error)", line: line)
    }

    /// Written out: each kind of error has its number, in all versions.
    private func number(of error: LearnerError) -> UInt32 {
        switch error {
        case .Invalid: 1
        case .TooLong: 2
        case .NotFound: 3
        case .Busy: 4
        case .Model: 5
        case .Adapter: 6
        case .Key: 7
        case .Storage: 8
        case .Fault: 9
        }
    }
}
