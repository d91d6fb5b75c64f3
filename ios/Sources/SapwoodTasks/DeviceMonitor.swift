#if canImport(UIKit) && !os(tvOS) && !os(watchOS)
import Foundation
import Sapwood
import UIKit
#if os(iOS)
import os
#endif

/// Tells a learner how the device is, at every change of power, charge, heat or use, and makes what
/// it keeps durable when the app goes to the background. Keep one per learner, for as long.
@MainActor
public final class DeviceMonitor {
    public let learner: Learner
    private let observers = Observers()
    /// Whether the system has lent the device: it starts a processing task only while nobody uses
    /// it, and iOS has no other word for that.
    private var lent = false
    /// Whether the app is in the background, where iOS refuses the GPU.
    private var inBackground = false

    public init(_ learner: Learner) {
        self.learner = learner
        UIDevice.current.isBatteryMonitoringEnabled = true
        let changes = [
            UIDevice.batteryStateDidChangeNotification,
            UIDevice.batteryLevelDidChangeNotification,
            ProcessInfo.thermalStateDidChangeNotification,
            .NSProcessInfoPowerStateDidChange,
        ]
        for change in changes {
            observers.add(change) { [weak self] in self?.push() }
        }
        observers.add(UIApplication.didBecomeActiveNotification) { [weak self] in
            self?.inBackground = false
            self?.setLent(false)
        }
        observers.add(UIApplication.didEnterBackgroundNotification) { [weak self] in
            self?.inBackground = true
            self?.push()
            self?.flush()
        }
        push()
    }

    /// The device as it is now.
    public var state: DeviceState {
        let device = UIDevice.current
        let process = ProcessInfo.processInfo
        return DeviceState(
            charging: device.batteryState == .charging || device.batteryState == .full,
            idle: lent,
            lowPowerMode: process.isLowPowerModeEnabled,
            thermal: Thermal(process.thermalState),
            // Below 0: unknown.
            batteryPercent: device.batteryLevel < 0 ? nil : UInt8(device.batteryLevel * 100),
            freeMemoryBytes: freeMemory(),
            gpuAllowed: !inBackground && !lent)
    }

    func setLent(_ lent: Bool) {
        self.lent = lent
        push()
    }

    private func push() {
        // Fails only after a bug, and whoever uses the learner then is told.
        try? learner.deviceChanged(state: state)
    }

    /// Asks the system for the moment that it takes.
    private func flush() {
        let learner = learner
        ProcessInfo.processInfo.performExpiringActivity(withReason: "sapwood.flush") { expired in
            if !expired { try? learner.flush() }
        }
    }

    /// What the system would give the app before it kills it.
    private func freeMemory() -> UInt64? {
        #if os(iOS) && !targetEnvironment(simulator) && !targetEnvironment(macCatalyst)
        return UInt64(os_proc_available_memory())
        #else
        return nil
        #endif
    }
}

extension Thermal {
    init(_ state: ProcessInfo.ThermalState) {
        switch state {
        case .nominal: self = .nominal
        case .fair: self = .fair
        case .serious: self = .serious
        case .critical: self = .critical
        // A degree that this was written without: rather too careful.
        @unknown default: self = .critical
        }
    }
}

/// Observers of notifications, from any thread, that end with this.
private final class Observers: @unchecked Sendable {
    /// Written by one actor and read when nobody has it any more.
    private var tokens: [any NSObjectProtocol] = []

    @MainActor
    func add(_ name: Notification.Name, _ react: @escaping @MainActor @Sendable () -> Void) {
        let center = NotificationCenter.default
        tokens.append(
            center.addObserver(forName: name, object: nil, queue: nil) { _ in
                Task { @MainActor in react() }
            })
    }

    deinit {
        tokens.forEach(NotificationCenter.default.removeObserver)
    }
}
#endif
