#if canImport(BackgroundTasks) && canImport(UIKit) && !os(tvOS) && !os(watchOS)
import BackgroundTasks
import Foundation
import Sapwood

/// Trains while the device charges and nobody uses it, when the system thinks it a good moment:
/// mostly at night.
///
/// The app's Info.plist needs the identifier under `BGTaskSchedulerPermittedIdentifiers`, and
/// `processing` under `UIBackgroundModes`. Training computes on processor cores only: iOS ends an
/// app that uses the graphics processor in the background.
public final class TrainingTask: Sendable {
    public let identifier: String
    private let monitor: @Sendable () async throws -> DeviceMonitor
    private let reported: @Sendable (Result<SliceReport, any Error>) -> Void

    /// Longest slice. Between two of them it is asked again whether there is anything to learn.
    private static let sliceSeconds: TimeInterval = 600

    /// `monitor` gives the monitor of the app's one learner, and opens that if the system started
    /// the app for this task alone. `reported` gets what came of each slice: for a log.
    public init(
        identifier: String,
        monitor: @escaping @Sendable () async throws -> DeviceMonitor,
        reported: @escaping @Sendable (Result<SliceReport, any Error>) -> Void = { _ in }
    ) {
        self.identifier = identifier
        self.monitor = monitor
        self.reported = reported
    }

    /// Tells the system what to start. Call it while the app is launching, each time. Returns
    /// whether the identifier is in Info.plist.
    public func register() -> Bool {
        BGTaskScheduler.shared.register(forTaskWithIdentifier: identifier, using: nil) { task in
            self.run(Running(task))
        }
    }

    /// Asks for one start, not before `earliest`. A task that runs asks for the next one itself.
    public func schedule(earliest: Date? = nil) throws {
        let request = BGProcessingTaskRequest(identifier: identifier)
        request.requiresExternalPower = true
        request.requiresNetworkConnectivity = false
        request.earliestBeginDate = earliest
        try BGTaskScheduler.shared.submit(request)
    }

    private func run(_ running: Running) {
        let stop = StopToken()
        running.task.expirationHandler = { stop.request() }
        do { try schedule() } catch { reported(.failure(error)) }
        Task(priority: .background) {
            let done = await self.train(until: stop)
            running.task.setTaskCompleted(success: done)
        }
    }

    /// Whether all was done that there was to do.
    private func train(until stop: StopToken) async -> Bool {
        do {
            let monitor = try await monitor()
            await monitor.setLent(true)
            let result = await Result.catching { try await self.slices(monitor.learner, stop) }
            await monitor.setLent(false)
            return try result.get()
        } catch {
            reported(.failure(error))
            return false
        }
    }

    private func slices(_ learner: Learner, _ stop: StopToken) async throws -> Bool {
        while !stop.isRequested() {
            let report = try await learner.trainSlice(budget: Self.sliceSeconds, stop: stop)
            reported(.success(report))
            switch report.outcome {
            case .paused(let holds) where holds.isEmpty: continue
            case .paused: return false
            case .waiting, .promoted, .rejected: return true
            }
        }
        return false
    }
}

/// The system's task. It may be completed from any thread, which its type does not say.
private struct Running: @unchecked Sendable {
    let task: BGTask

    init(_ task: BGTask) {
        self.task = task
    }
}

extension Result where Failure == any Error {
    fileprivate static func catching(_ work: () async throws -> Success) async -> Self {
        do { return .success(try await work()) } catch { return .failure(error) }
    }
}
#endif
