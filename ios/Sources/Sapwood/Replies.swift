/// Replies as they come. The reply begins when the sequence is iterated, anew each time.
///
/// Leaving the loop, or cancelling its task, cancels the reply, and the chat is free again when
/// the loop has ended. In a cancelled task the loop throws `CancellationError`.
public struct Replies: AsyncSequence, Sendable {
    public typealias Element = Event

    let begin: @Sendable () async throws -> Generation

    public func makeAsyncIterator() -> Iterator {
        Iterator(begin: begin)
    }

    public struct Iterator: AsyncIteratorProtocol {
        /// Until it has begun.
        var begin: (@Sendable () async throws -> Generation)?
        /// Until it has ended. Letting go of the last reference cancels a reply.
        var generation: Generation?

        public mutating func next() async throws -> Event? {
            do {
                try Task.checkCancellation()
                if let begin = begin.take() {
                    generation = try await begin()
                }
                let event = try await generation?.following()
                try Task.checkCancellation()
                if case .text = event {} else { generation = nil }
                return event
            } catch {
                generation = nil
                throw error
            }
        }
    }
}

extension Chat {
    /// The reply to `text`: text events, then one `done` event with the whole reply.
    public func stream(_ text: String, sampling: Sampling? = nil) -> Replies {
        Replies { try await self.respond(text: text, sampling: sampling) }
    }

    /// Another reply in place of the last one, as `stream`.
    public func streamAgain(sampling: Sampling? = nil) -> Replies {
        Replies { try await self.regenerate(sampling: sampling) }
    }

    /// Starts a reply and returns its handle. Use it where a cancelled reply is to be kept as far as
    /// it came: `for try await event in generation.events` ends with a `done` event after
    /// `generation.cancel()`.
    public func respond(text: String, sampling: Sampling? = nil) async throws -> Generation {
        try await blocking { try self.respond(text: text, sampling: sampling) }
    }

    /// Starts another reply in place of the last one.
    public func regenerate(sampling: Sampling? = nil) async throws -> Generation {
        try await blocking { try self.regenerate(sampling: sampling) }
    }
}

extension Generation {
    /// What is left of this reply. The handle keeps the reply: leaving the loop does not cancel it,
    /// `cancel()` does, and so does cancelling the loop's task.
    public var events: Replies {
        Replies { self }
    }

    fileprivate func following() async throws -> Event? {
        try await withTaskCancellationHandler {
            // Unowned: the iterator holds the reply, and only the iterator's caller may end it.
            try await blocking { [unowned self] in try self.next() }
        } onCancel: {
            cancel()
        }
    }
}

extension Optional {
    /// The value, which is gone afterwards.
    fileprivate mutating func take() -> Wrapped? {
        defer { self = nil }
        return self
    }
}
