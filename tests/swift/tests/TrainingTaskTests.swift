import BackgroundTasks
import Foundation
import Sapwood
import SapwoodTasks
import XCTest
import UIKit

/// The system's side is played: it starts the task, and takes the device back.
final class TrainingTaskTests: XCTestCase {
    private let identifier = "app.learn"

    override func setUp() async throws {
        await MainActor.run {
            UIDevice.current.battery = (.charging, 1)
            ProcessInfo.heat = .nominal
            ProcessInfo.savesPower = false
        }
        BGTaskScheduler.shared.permitted = [identifier]
        BGTaskScheduler.shared.submitted = []
    }

    func testAnIdentifierThatIsNotPermittedIsNoticed() {
        let task = TrainingTask(identifier: "another", monitor: { throw CancellationError() })
        XCTAssertFalse(task.register())
    }

    func testItAsksForPowerAndNoNetwork() throws {
        let task = TrainingTask(identifier: identifier, monitor: { throw CancellationError() })
        let date = Date(timeIntervalSinceNow: 3600)
        try task.schedule(earliest: date)
        let request = try XCTUnwrap(
            BGTaskScheduler.shared.submitted.first as? BGProcessingTaskRequest)
        XCTAssertEqual(request.identifier, identifier)
        XCTAssertTrue(request.requiresExternalPower)
        XCTAssertFalse(request.requiresNetworkConnectivity)
        XCTAssertEqual(request.earliestBeginDate, date)
    }

    func testItTrainsUntilTheSystemTakesTheDeviceBack() async throws {
        let learner = try await opened(self, taught: true)
        let monitor = await DeviceMonitor(learner)
        let reports = Reports()
        let task = TrainingTask(
            identifier: identifier, monitor: { monitor }, reported: { reports.add($0) })
        XCTAssertTrue(task.register())
        let completed = expectation(description: "completed")
        nonisolated(unsafe) var success: Bool?
        nonisolated(unsafe) let running = BGTaskScheduler.shared.start(identifier) {
            XCTAssertNil(success, "completed twice")
            success = $0
            completed.fulfill()
        }
        try await Task.sleep(nanoseconds: 1_000_000_000)
        XCTAssertNil(success, "it ended by itself")
        let lent = await monitor.state.idle
        XCTAssertTrue(lent)

        let asked = Date()
        let expire = try XCTUnwrap(running?.expirationHandler)
        expire()
        await fulfillment(of: [completed], timeout: 5)
        print("MEASURED: \(Int(Date().timeIntervalSince(asked) * 1000)) ms from expiry to the end")
        XCTAssertEqual(success, false)
        let report = try XCTUnwrap(reports.all.last).get()
        XCTAssertGreaterThan(report.step, 0)
        XCTAssertEqual(report.outcome, .paused(holds: []))
        let back = await monitor.state.idle
        XCTAssertFalse(back)
        // The next night is asked for.
        XCTAssertEqual(BGTaskScheduler.shared.submitted.map(\.identifier), [identifier])
    }

    func testNothingToLearnIsASuccess() async throws {
        let learner = try await opened(self)
        let monitor = await DeviceMonitor(learner)
        let task = TrainingTask(identifier: identifier, monitor: { monitor })
        let success = await run(task)
        XCTAssertEqual(success, true)
    }

    func testALearnerThatCannotBeOpenedIsReported() async throws {
        struct Locked: Error {}
        let reports = Reports()
        let task = TrainingTask(
            identifier: identifier, monitor: { throw Locked() }, reported: { reports.add($0) })
        let success = await run(task)
        XCTAssertEqual(success, false)
        XCTAssertThrowsError(try XCTUnwrap(reports.all.last).get()) { XCTAssertTrue($0 is Locked) }
    }

    private func run(_ task: TrainingTask) async -> Bool {
        XCTAssertTrue(task.register())
        return await withCheckedContinuation { continuation in
            _ = BGTaskScheduler.shared.start(identifier) { continuation.resume(returning: $0) }
        }
    }
}

private final class Reports: @unchecked Sendable {
    private let lock = NSLock()
    private var reports: [Result<SliceReport, any Error>] = []

    var all: [Result<SliceReport, any Error>] { lock.withLock { reports } }

    func add(_ report: Result<SliceReport, any Error>) {
        lock.withLock { reports.append(report) }
    }
}
