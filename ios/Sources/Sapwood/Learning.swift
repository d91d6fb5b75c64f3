import Foundation

/*
 * The generated calls block. Those that may take long have a twin here, of the same name, that does
 * not: in asynchronous code the compiler takes the twin and asks for `await`. What has no twin
 * (`chat`, `consent`, `deviceChanged`, `setRetrieval`, `adapters`) returns at once.
 */

extension Learner {
    /// Opens the model and the folder, recovers from whatever happened to the last process, and
    /// puts the right adapter in force.
    public static func open(config: Config) async throws -> Learner {
        try await blocking { try Learner.open(config: config) }
    }

    /// Trains for at most `budget` seconds and says what came of it. Cancelling the task, or `stop`,
    /// ends it within half a second; what was trained until then is kept, and the next call goes on
    /// from there.
    public func trainSlice(
        budget: TimeInterval, stop: StopToken? = nil
    ) async throws -> SliceReport {
        let stop = stop ?? StopToken()
        return try await withTaskCancellationHandler {
            try await blocking(for: .utility) {
                try self.trainSlice(budget: budget, stop: stop)
            }
        } onCancel: {
            stop.request()
        }
    }

    /// Says what the user did with a reply. Without consent this does nothing.
    public func signal(replyId: String, signal: Signal) async throws {
        try await blocking { try self.signal(replyId: replyId, signal: signal) }
    }

    /// Allows or stops keeping what the user does. Durable when it returns.
    public func setConsent(consent: Consent) async throws {
        try await blocking { try self.setConsent(consent: consent) }
    }

    /// Keeps an adapter file (GGUF, made for this model elsewhere) without using it. Returns its
    /// digest.
    public func stage(adapter: Data) async throws -> String {
        try await blocking { try self.stage(adapter: adapter) }
    }

    /// Puts a staged adapter in force on probation.
    public func activate(adapter: String) async throws {
        try await blocking { try self.activate(adapter: adapter) }
    }

    /// Takes the adapter in force back for good and returns its digest.
    public func rollback() async throws -> String {
        try await blocking { try self.rollback() }
    }

    /// Refuses an adapter for good, in force or not, known here or not.
    public func refuse(adapter: String) async throws {
        try await blocking { try self.refuse(adapter: adapter) }
    }

    /// Says that the app stays with this model: adapters of other ones are deleted.
    public func confirmBase() async throws {
        try await blocking { try self.confirmBase() }
    }

    /// All replies that are kept, oldest first, each with what the user did.
    public func samples() async throws -> [Sample] {
        try await blocking { try self.samples() }
    }

    /// Forgets for good: replies, signals, and every adapter that learned from one.
    public func forget(scope: Scope) async throws -> DeletionReceipt {
        try await blocking { try self.forget(scope: scope) }
    }

    /// Writes all that is kept into a new or empty folder, for the user to read. Nothing in there is
    /// sealed: protect it, hand it over, remove it.
    public func exportData(folder: String) async throws -> Exported {
        try await blocking { try self.exportData(folder: folder) }
    }

    /// Says that the last process ended for a reason that was not the adapter's fault.
    public func exitWasBenign() async throws {
        try await blocking { try self.exitWasBenign() }
    }

    /// Makes everything durable: call it when the app goes to the background.
    public func flush() async throws {
        try await blocking { try self.flush() }
    }
}

/// Brings the GGUF file at `source` into `folder`, named by its digest, read-only, durable.
public func importModel(source: String, folder: String, take: Take) async throws -> ImportedModel {
    try await blocking { try importModel(source: source, folder: folder, take: take) }
}
