import Foundation
import Sapwood
import XCTest
import UIKit

@testable import SapwoodTasks

@MainActor
final class DeviceMonitorTests: XCTestCase {
    override func setUp() async throws {
        await MainActor.run {
            UIDevice.current.battery = (.unknown, -1)
            ProcessInfo.heat = .nominal
            ProcessInfo.savesPower = false
            ProcessInfo.activities = []
        }
    }

    func testItSaysHowTheDeviceIs() async throws {
        let monitor = DeviceMonitor(try await opened(self))
        let unknown = DeviceState(charging: false, idle: false, thermal: .nominal)
        XCTAssertEqual(monitor.state, unknown)
        UIDevice.current.battery = (.unplugged, 0.5)
        ProcessInfo.heat = .critical
        ProcessInfo.savesPower = true
        let worse = DeviceState(
            charging: false, idle: false, lowPowerMode: true, thermal: .critical,
            batteryPercent: 50)
        XCTAssertEqual(monitor.state, worse)
        UIDevice.current.battery = (.full, 1)
        monitor.setLent(true)
        XCTAssertTrue(monitor.state.charging && monitor.state.idle)
        // What the system lends is the background, where it refuses the GPU.
        XCTAssertTrue(worse.gpuAllowed && !monitor.state.gpuAllowed)
    }

    func testTheLearnerIsToldOfEveryChange() async throws {
        let learner = try await opened(self, taught: true)
        UIDevice.current.battery = (.charging, 1)
        let monitor = DeviceMonitor(learner)
        let inUse = try await learner.trainSlice(budget: 1)
        XCTAssertEqual(inUse.outcome, .waiting(holds: [.inUse]))
        monitor.setLent(true)

        let changes: [(Notification.Name, Hold, () -> Void)] = [
            (UIDevice.batteryStateDidChangeNotification, .notCharging, {
                UIDevice.current.battery.state = .unplugged
            }),
            (ProcessInfo.thermalStateDidChangeNotification, .tooHot, {
                ProcessInfo.heat = .serious
            }),
            (.NSProcessInfoPowerStateDidChange, .lowPowerMode, {
                ProcessInfo.savesPower = true
            }),
            (UIApplication.didBecomeActiveNotification, .inUse, {}),
        ]
        for (name, hold, change) in changes {
            change()
            NotificationCenter.default.post(name: name, object: nil)
            try await eventually("\(hold)") {
                // Each is told in addition to those before.
                holds(try await learner.trainSlice(budget: 0)).contains(hold)
            }
        }
    }

    func testWhatIsKeptIsMadeDurableInTheBackground() async throws {
        let monitor = DeviceMonitor(try await opened(self))
        NotificationCenter.default.post(
            name: UIApplication.didEnterBackgroundNotification, object: nil)
        try await eventually("flushed") {
            await MainActor.run {
                ProcessInfo.activities == ["sapwood.flush"] && !monitor.state.gpuAllowed
            }
        }
        withExtendedLifetime(monitor) {}
    }

    func testAMonitorThatIsGoneHearsNothing() async throws {
        var monitor: DeviceMonitor? = DeviceMonitor(try await opened(self))
        weak var gone = monitor
        monitor = nil
        XCTAssertNil(gone)
        NotificationCenter.default.post(
            name: UIApplication.didEnterBackgroundNotification, object: nil)
        try await Task.sleep(nanoseconds: 50_000_000)
        XCTAssertEqual(ProcessInfo.activities, [])
        withExtendedLifetime(monitor) {}
    }
}

/// What held a slice back.
private func holds(_ report: SliceReport) -> [Hold] {
    switch report.outcome {
    case .waiting(let holds), .paused(let holds): holds
    case .promoted, .rejected: []
    }
}
