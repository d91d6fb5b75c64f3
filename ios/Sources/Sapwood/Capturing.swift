/*
 * Recording without a model: for a keyboard or a share extension. As in Learning.swift, what may
 * touch the disk for long has a twin that does not block; `consent` has none.
 */

extension Capture {
    /// Opens the folder of `config` with its keys; nothing else of it matters.
    public static func open(config: Config) async throws -> Capture {
        try await blocking { try Capture.open(config: config) }
    }

    /// Records a reply that was shown and returns its id, to which signals refer. Nil without
    /// consent, or if something of its conversation was forgotten: nothing is stored then.
    public func reply(shown: Shown) async throws -> String? {
        try await blocking { try self.reply(shown: shown) }
    }

    /// Says what the user did with a reply, recorded here or elsewhere.
    public func signal(replyId: String, signal: Signal) async throws {
        try await blocking { try self.signal(replyId: replyId, signal: signal) }
    }

    /// Makes everything durable: call it before the process may be suspended.
    public func flush() async throws {
        try await blocking { try self.flush() }
    }
}
