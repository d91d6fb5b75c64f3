// Stands in for Apple's BackgroundTasks: the part that Sapwood uses, and a system that a test can
// play.

import Foundation

open class BGTask {
    public let identifier: String
    public var expirationHandler: (() -> Void)?
    private let completed: (Bool) -> Void

    init(identifier: String, completed: @escaping (Bool) -> Void) {
        self.identifier = identifier
        self.completed = completed
    }

    public func setTaskCompleted(success: Bool) {
        completed(success)
    }
}

public final class BGProcessingTask: BGTask {}

open class BGTaskRequest {
    public let identifier: String
    public var earliestBeginDate: Date?

    init(identifier: String) {
        self.identifier = identifier
    }
}

public final class BGProcessingTaskRequest: BGTaskRequest {
    public var requiresNetworkConnectivity = false
    public var requiresExternalPower = false

    public override init(identifier: String) {
        super.init(identifier: identifier)
    }
}

public final class BGTaskScheduler: @unchecked Sendable {
    public static let shared = BGTaskScheduler()

    /// Identifiers that the app's Info.plist permits.
    public var permitted: Set<String> = []
    public var submitted: [BGTaskRequest] = []
    private var handlers: [String: (BGTask) -> Void] = [:]

    public func register(
        forTaskWithIdentifier identifier: String, using queue: DispatchQueue?,
        launchHandler: @escaping (BGTask) -> Void
    ) -> Bool {
        guard permitted.contains(identifier) else { return false }
        handlers[identifier] = launchHandler
        return true
    }

    public func submit(_ request: BGTaskRequest) throws {
        submitted.append(request)
    }

    /// Starts a task, as the system would.
    public func start(
        _ identifier: String, completed: @escaping (Bool) -> Void
    ) -> BGProcessingTask? {
        guard let handler = handlers[identifier] else { return nil }
        let task = BGProcessingTask(identifier: identifier, completed: completed)
        handler(task)
        return task
    }
}
