import Foundation
import Sapwood
import XCTest

@testable import Assistant

/// The sample app, without its views.
@MainActor
final class AssistantTests: XCTestCase {
    private func started() async throws -> Assistant {
        let learner = try await opened(self)
        let assistant = Assistant { learner }
        await assistant.start()
        XCTAssertNil(assistant.problem)
        XCTAssertEqual(assistant.phase, .idle)
        return assistant
    }

    func testWhatIsChangedAndSentIsKeptAndForgotten() async throws {
        let assistant = try await started()
        XCTAssertEqual(assistant.consent, .unasked)
        await assistant.answer(.granted)
        await assistant.suggest(to: "where is my parcel?")
        XCTAssertEqual(assistant.phase, .ready)
        XCTAssertEqual(assistant.draft, assistant.reply?.text)
        XCTAssertFalse(assistant.draft.isEmpty)
        assistant.draft = "It comes tomorrow."
        await assistant.send()
        XCTAssertEqual(assistant.phase, .idle)
        XCTAssertEqual(assistant.samples.map(\.signals), [[.edited(text: "It comes tomorrow.")]])

        await assistant.suggest(to: "thank you")
        await assistant.send()
        XCTAssertEqual(assistant.samples.first?.signals, [.accepted])
        await assistant.forget(.reply(replyId: assistant.samples[0].replyId))
        XCTAssertEqual(assistant.samples.count, 1)
        await assistant.forget(.everything)
        XCTAssertEqual(assistant.samples, [])
        XCTAssertNil(assistant.problem)
    }

    func testNothingIsKeptWithoutConsent() async throws {
        let assistant = try await started()
        await assistant.answer(.refused)
        await assistant.suggest(to: "where is my parcel?")
        await assistant.send()
        XCTAssertEqual(assistant.samples, [])
        XCTAssertNil(assistant.problem)
    }

    func testAnotherSuggestionTakesThePlaceOfTheFirst() async throws {
        let assistant = try await started()
        await assistant.answer(.granted)
        await assistant.suggest(to: "where is my parcel?")
        let first = try XCTUnwrap(assistant.reply)
        await assistant.again()
        let second = try XCTUnwrap(assistant.reply)
        XCTAssertNotEqual(first.id, second.id)
        await assistant.discard()
        XCTAssertEqual(assistant.phase, .idle)
        XCTAssertEqual(assistant.draft, "")
    }

    func testStoppingKeepsWhatWasSaid() async throws {
        let assistant = try await started()
        let writing = Task { await assistant.suggest(to: "tell me everything") }
        try await eventually("writing") { await assistant.phase == .writing }
        assistant.stop()
        await writing.value
        XCTAssertEqual(assistant.phase, .ready)
        XCTAssertEqual(assistant.draft, assistant.reply?.text)
    }

    func testWhatGoesWrongIsShown() async throws {
        let assistant = try await started()
        await assistant.suggest(to: String(repeating: "x", count: 9999))
        XCTAssertNotNil(assistant.problem)
        XCTAssertEqual(assistant.phase, .idle)
        await assistant.rollback()
        XCTAssertNotNil(assistant.problem)
        await assistant.suggest(to: "hello")
        XCTAssertNil(assistant.problem)
    }
}
