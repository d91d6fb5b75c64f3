import Sapwood
import XCTest

@testable import func Sapwood.blocking

/// Replies as sequences: streaming and every way of leaving one.
final class ReplyTests: LearnerTestCase {
    func testAReplyStreamsAndNamesWhatMadeIt() async throws {
        let reply = try await learner().ask("Triage: I want my money back")
        XCTAssertEqual(reply.text, "returns")
        XCTAssertEqual(reply.stop, .end)
        XCTAssertNil(reply.adapter)
        XCTAssertEqual(reply.id.count, 32)
    }

    func testASequenceMakesANewReplyEachTimeItIsIterated() async throws {
        let replies = try await learner().chat(surface: "triage").stream("Triage: it crashes")
        let first = try await replies.whole()
        let second = try await replies.whole()
        XCTAssertNotEqual(first.id, second.id)
    }

    func testAnotherReplyTakesThePlaceOfTheLastOne() async throws {
        let chat = try await learner().chat(surface: "triage")
        let first = try await chat.whole("Triage: it crashes")
        let again = try await chat.streamAgain(sampling: greedy).whole()
        XCTAssertEqual(first.text, again.text)
        XCTAssertNotEqual(first.id, again.id)
    }

    /// More calls than Swift's pool has threads: were they made there, this would take their sum.
    func testCallsThatBlockTakeNoThreadFromTheApp() async throws {
        let calls = 4 * ProcessInfo.processInfo.activeProcessorCount
        let started = Date()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<calls {
                group.addTask { try await blocking { Thread.sleep(forTimeInterval: 0.5) } }
            }
            try await group.waitForAll()
        }
        // In the pool: four times half a second.
        XCTAssertLessThan(Date().timeIntervalSince(started), 1.5)
    }

    func testCancellingTheTaskCancelsTheReply() async throws {
        let chat = try await learner().chat(surface: "mail")
        var cut = 0
        for seed in 1...5 {
            let (begun, first) = AsyncStream.makeStream(of: Void.self)
            let task = Task {
                for try await _ in chat.stream(tellAll, sampling: rambling(seed)) {
                    first.yield()
                }
            }
            for await _ in begun { break }
            let asked = Date()
            task.cancel()
            let result = await task.result
            XCTAssertLessThan(Date().timeIntervalSince(asked), 2)
            if case .failure(let error) = result {
                XCTAssertTrue(error is CancellationError, "\(error)")
                cut += 1
            }
            // Not busy: the reply is really over.
            _ = try await chat.whole("Triage: it crashes")
        }
        XCTAssertGreaterThan(cut, 0, "every reply was over before it could be cancelled")
    }

    func testCancellingTheTaskInterruptsTheReadingOfALongPrompt() async throws {
        let learner = try await learner { $0.contextTokens = 4096 }
        let long = String(repeating: "Tell me everything about it. ", count: 400)
        func first() async throws -> TimeInterval {
            let started = Date()
            let chat = try learner.chat(surface: "mail")
            for try await _ in chat.stream(long, sampling: greedy) { break }
            return Date().timeIntervalSince(started)
        }
        let whole = try await first()
        let task = Task { try await first() }
        try await Task.sleep(nanoseconds: UInt64(whole / 8 * 1e9))
        let asked = Date()
        task.cancel()
        let result = await task.result
        let spent = Date().timeIntervalSince(asked)
        print("MEASURED: reading stopped \(Int(spent * 1000)) of \(Int(whole * 1000)) ms after")
        XCTAssertLessThan(spent, whole / 2)
        XCTAssertThrowsError(try result.get()) { XCTAssertTrue($0 is CancellationError) }
    }

    func testLeavingTheLoopCancelsTheReply() async throws {
        let chat = try await learner().chat(surface: "mail")
        for seed in 0..<50 {
            for try await _ in chat.stream(tellAll, sampling: rambling(seed)) { break }
        }
        _ = try await chat.whole("Triage: it crashes")
    }

    func testCancellingAtAnyMomentLeavesTheChatFree() async throws {
        let chat = try await learner().chat(surface: "mail")
        for n in 0..<30 {
            let task = Task {
                for try await _ in chat.stream(tellAll, sampling: rambling(n)) {}
            }
            if n % 3 > 0 { try await Task.sleep(nanoseconds: UInt64(n) * 1_000_000) }
            task.cancel()
            _ = await task.result
            for try await _ in chat.stream("Triage: it crashes", sampling: greedy) { break }
        }
    }

    func testTheHandleCancelsAndKeepsWhatWasSaid() async throws {
        let chat = try await learner().chat(surface: "mail")
        let generation = try await chat.respond(text: tellAll, sampling: rambling(3))
        var last: Event?
        for try await event in generation.events {
            last = event
            generation.cancel()
        }
        guard case .done(let reply) = last else { return XCTFail("\(String(describing: last))") }
        XCTAssertEqual(reply.id, generation.replyId())
        if reply.stop == .cancelled { XCTAssertLessThan(reply.tokens, 400) }
        for try await event in generation.events { XCTFail("after the end: \(event)") }
    }

    func testAReplyCancelledBeforeItsFirstTokenWasNeverAskedFor() async throws {
        let learner = try await learner()
        try await learner.setConsent(consent: .granted)
        let chat = try learner.chat(surface: "mail")
        let generation = try await chat.respond(text: tellAll, sampling: greedy)
        generation.cancel()
        let reply = try await generation.events.whole()
        XCTAssertEqual(reply.stop, .cancelled)
        XCTAssertEqual(reply.tokens, 0)
        let samples = try await learner.samples()
        XCTAssertEqual(samples, [])
    }

    func testOneChatMakesOneReplyAtATime() async throws {
        let chat = try await learner().chat(surface: "mail")
        let generation = try await chat.respond(text: tellAll, sampling: rambling(4))
        let error = await thrown { try await chat.respond(text: "Triage: now", sampling: greedy) }
        XCTAssertEqual((error as? LearnerError)?.code(), 4)
        withExtendedLifetime(generation) {}
    }
}
