// Stands in for the part of UIKit that Sapwood uses, and for what Foundation has on Apple's systems
// alone: a device that a test can play.

import Foundation

@MainActor
public final class UIDevice {
    public enum BatteryState: Int, Sendable {
        case unknown
        case unplugged
        case charging
        case full
    }

    public static let current = UIDevice()
    nonisolated public static let batteryStateDidChangeNotification =
        Notification.Name("UIDeviceBatteryStateDidChangeNotification")
    nonisolated public static let batteryLevelDidChangeNotification =
        Notification.Name("UIDeviceBatteryLevelDidChangeNotification")

    public var isBatteryMonitoringEnabled = false
    /// As the test says.
    public var battery = (state: BatteryState.unknown, level: Float(-1))

    /// Unknown until somebody monitors it.
    public var batteryState: BatteryState { isBatteryMonitoringEnabled ? battery.state : .unknown }
    public var batteryLevel: Float { isBatteryMonitoringEnabled ? battery.level : -1 }
}

@MainActor
public final class UIApplication {
    nonisolated public static let didBecomeActiveNotification =
        Notification.Name("UIApplicationDidBecomeActiveNotification")
    nonisolated public static let didEnterBackgroundNotification =
        Notification.Name("UIApplicationDidEnterBackgroundNotification")
}

extension ProcessInfo {
    public enum ThermalState: Int, Sendable {
        case nominal
        case fair
        case serious
        case critical
    }

    public static let thermalStateDidChangeNotification =
        Notification.Name("NSProcessInfoThermalStateDidChangeNotification")
    /// As the test says.
    nonisolated(unsafe) public static var heat = ThermalState.nominal
    nonisolated(unsafe) public static var savesPower = false
    nonisolated(unsafe) public static var activities: [String] = []

    public var thermalState: ThermalState { ProcessInfo.heat }
    public var isLowPowerModeEnabled: Bool { ProcessInfo.savesPower }

    public func performExpiringActivity(
        withReason reason: String, using block: @escaping @Sendable (Bool) -> Void
    ) {
        ProcessInfo.activities.append(reason)
        DispatchQueue.global().async { block(false) }
    }
}

extension Notification.Name {
    public static let NSProcessInfoPowerStateDidChange =
        Notification.Name("NSProcessInfoPowerStateDidChangeNotification")
}
