import Foundation
import Sapwood
import XCTest

/// Chat, signals, training, adapters, and back.
final class LoopTests: LearnerTestCase {
    func testNothingIsKeptWithoutConsent() async throws {
        let learner = try await learner()
        XCTAssertEqual(try learner.consent(), .unasked)
        let unkept = try await learner.ask("Triage: it crashes")
        try await learner.signal(replyId: unkept.id, signal: .accepted)
        let none = try await learner.samples()
        XCTAssertEqual(none, [])
        try await learner.setConsent(consent: .granted)
        let reply = try await learner.ask("Triage: it crashes")
        try await learner.signal(replyId: reply.id, signal: .rated(good: false))
        let samples = try await learner.samples()
        XCTAssertEqual(samples.map(\.replyId), [reply.id])
        XCTAssertEqual(samples[0].reply, reply.text)
        XCTAssertEqual(samples[0].signals, [.rated(good: false)])
        XCTAssertLessThan(abs(samples[0].time.timeIntervalSinceNow), 300)
    }

    func testACorrectionIsShownWithTheNextRequestLikeIt() async throws {
        let learner = try await learner()
        try await learner.setConsent(consent: .granted)
        let reply = try await learner.ask("Triage: parcel 7 has not arrived")
        try await learner.signal(replyId: reply.id, signal: .edited(text: "logistics"))
        let next = try await learner.ask("Triage: parcel 8 has not arrived")
        XCTAssertGreaterThan(next.retrieved, 0)
    }

    func testTheLoopTrainsWhenTheDeviceRestsToAVerdict() async throws {
        let learner = try await taught()
        try learner.deviceChanged(
            state: DeviceState(charging: false, idle: true, thermal: .nominal))
        let waiting = try await learner.trainSlice(budget: 600)
        XCTAssertEqual(waiting.outcome, .waiting(holds: [.notCharging]))
        try learner.deviceChanged(state: resting)
        var report = try await learner.trainSlice(budget: 600)
        while case .paused = report.outcome {
            report = try await learner.trainSlice(budget: 600)
        }
        XCTAssertEqual(report.step, 4)
        XCTAssertEqual(report.steps, 4)
        XCTAssertEqual(report.losses.count, 4)
        switch report.outcome {
        case .promoted, .rejected: break
        default: XCTFail(report.summary)
        }
        XCTAssertFalse(try learner.adapters().isEmpty)
    }

    func testTheAppSaysWhatTheDeviceMustBeLike() async throws {
        let careful = try await taught { $0.idle = IdlePolicy(memoryBytes: 1 << 20) }
        let held = try await careful.trainSlice(budget: 600)
        XCTAssertEqual(held.outcome, .waiting(holds: [.tooLittleMemory]), held.summary)
        let bold = try await learner {
            $0.idle = IdlePolicy(needCharging: false, needIdle: false, hottest: .critical)
        }
        try bold.deviceChanged(state: DeviceState(charging: false, idle: false, thermal: .serious))
        let report = try await bold.trainSlice(budget: 1)
        XCTAssertNotEqual(report.outcome, .waiting(holds: []))
        guard case .waiting(let holds) = report.outcome else { return }
        XCTAssertTrue(Set(holds).isDisjoint(with: [.notCharging, .inUse, .tooHot]), "\(holds)")
    }

    func testCancellingTheTaskStopsTrainingAndTheNextCallGoesOn() async throws {
        let learner = try await taught {
            $0.training?.steps = 100_000
            $0.training?.passes = .max
        }
        let task = Task { try await learner.trainSlice(budget: 600) }
        try await Task.sleep(nanoseconds: 1_000_000_000)
        let asked = Date()
        task.cancel()
        let first = try await task.value
        let spent = Date().timeIntervalSince(asked)
        print("MEASURED: training stopped \(Int(spent * 1000)) ms after its task was cancelled")
        XCTAssertLessThan(spent, 5)
        XCTAssertEqual(first.outcome, .paused(holds: []), first.summary)
        let next = try await learner.trainSlice(budget: 1)
        XCTAssertGreaterThan(next.step, first.step)
    }

    func testRepliesGoOnWhileASliceTrains() async throws {
        let learner = try await taught()
        async let training = learner.trainSlice(budget: 600)
        var ids = Set<String>()
        for _ in 0..<5 { ids.insert(try await learner.ask("Triage: it crashes").id) }
        XCTAssertEqual(ids.count, 5)
        let report = try await training
        XCTAssertEqual(report.step, 4)
    }

    func testAnAdapterFromElsewhereIsStagedUsedAndTakenBack() async throws {
        guard let path = ProcessInfo.processInfo.environment["ADAPTER"] else {
            throw XCTSkip("ADAPTER names no adapter file")
        }
        let learner = try await learner()
        let file = try Data(contentsOf: URL(fileURLWithPath: path))
        let adapter = try await learner.stage(adapter: file)
        try await learner.activate(adapter: adapter)
        let with = try await learner.ask("Triage: it crashes")
        XCTAssertEqual(with.adapter, adapter)
        XCTAssertEqual(try learner.adapters().map(\.inForce), [true])
        let back = try await learner.rollback()
        XCTAssertEqual(back, adapter)
        let without = try await learner.ask("Triage: it crashes")
        XCTAssertNil(without.adapter)
        let error = await thrown { try await learner.activate(adapter: adapter) }
        XCTAssertEqual((error as? LearnerError)?.code(), 3)
    }

    func testWhatIsForgottenIsGone() async throws {
        let learner = try await taught()
        let kept = try await learner.samples()
        let one = try await learner.forget(scope: .reply(replyId: kept[0].replyId))
        XCTAssertEqual(one.replies, [kept[0].replyId])
        let error = await thrown {
            try await learner.signal(replyId: kept[0].replyId, signal: .accepted)
        }
        XCTAssertEqual((error as? LearnerError)?.code(), 3)
        let two = try await learner.forget(
            scope: .conversation(conversation: kept[1].conversation))
        XCTAssertEqual(two.replies, [kept[1].replyId])
        let all = try await learner.forget(scope: .everything)
        XCTAssertEqual(all.replies.count, kept.count - 2)
        let none = try await learner.samples()
        XCTAssertEqual(none, [])
        let reopened = try await self.learner().samples()
        XCTAssertEqual(reopened, [])
    }
}
