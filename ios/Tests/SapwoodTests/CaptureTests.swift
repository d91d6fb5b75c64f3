import Foundation
import Sapwood
import XCTest

/// Recording without a model, and all that is kept, handed over.
final class CaptureTests: LearnerTestCase {
    private let shown = Shown(
        surface: "mail", turns: [Message(role: .user, content: "Tuesday?")],
        reply: "Fine, Tuesday then.")

    func testAProcessWithoutAModelRecordsBesideTheLearner() async throws {
        let learner = try await learner()
        let config = Config(folder: folder.path, key: Data(0..<32))
        let capture = try await Capture.open(config: config)
        let unasked = try await capture.reply(shown: shown)
        XCTAssertNil(unasked)
        try await learner.setConsent(consent: .granted)
        XCTAssertEqual(try capture.consent(), .granted)
        let recorded = try await capture.reply(shown: shown)
        let reply = try XCTUnwrap(recorded)
        try await capture.signal(replyId: reply, signal: .edited(text: "Tuesday is fine."))
        try await capture.flush()
        try await learner.signal(replyId: reply, signal: .accepted)
        let kept = try await learner.samples()
        XCTAssertEqual(kept.map(\.replyId), [reply])
        XCTAssertEqual(kept[0].signals, [.edited(text: "Tuesday is fine."), .accepted])
        let unknown = await thrown {
            try await capture.signal(
                replyId: String(repeating: "0", count: 32), signal: .accepted)
        }
        XCTAssertEqual((unknown as? LearnerError)?.code(), 3)
    }

    func testAllThatIsKeptIsHandedOver() async throws {
        let learner = try await taught()
        let to = folder.appendingPathComponent("exported")
        let exported = try await learner.exportData(folder: to.path)
        XCTAssertEqual(exported, Exported(turns: 12, adapters: 0, unreadableRecords: 0))
        let text = try String(contentsOf: to.appendingPathComponent("turns.json"), encoding: .utf8)
        XCTAssertTrue(text.contains("logistics"))
        let again = await thrown { try await learner.exportData(folder: to.path) }
        XCTAssertEqual((again as? LearnerError)?.code(), 8)
        try await learner.refuse(adapter: String(repeating: "0", count: 64))
        try await learner.confirmBase()
    }
}
