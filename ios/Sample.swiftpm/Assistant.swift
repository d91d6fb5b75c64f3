import Foundation
import Observation
import Sapwood

/// What the sample's screens show and do: a mail, the reply that is suggested to it, and what was
/// learned from the replies that were sent. It knows no views.
@MainActor
@Observable
final class Assistant {
    enum Phase: Equatable {
        case closed
        case idle
        case writing
        /// The suggestion is whole and may be changed.
        case ready
    }

    private(set) var phase = Phase.closed
    /// What to tell the user; none: nothing went wrong.
    private(set) var problem: String?
    /// The suggestion as far as it came, then what the user makes of it.
    var draft = ""
    private(set) var reply: Reply?
    private(set) var consent = Consent.unasked
    private(set) var samples: [Sample] = []
    private(set) var adapters: [AdapterInfo] = []

    private let open: @Sendable () async throws -> Learner
    private var learner: Learner?
    private var chat: Chat?
    private var generation: Generation?

    init(open: @escaping @Sendable () async throws -> Learner) {
        self.open = open
    }

    func start() async {
        await attempt {
            let learner = try await open()
            self.learner = learner
            consent = try learner.consent()
            phase = .idle
            try await refresh()
        }
    }

    /// The user's answer to the question whether replies may be kept and learned from.
    func answer(_ consent: Consent) async {
        await attempt {
            try await learner?.setConsent(consent: consent)
            self.consent = consent
        }
    }

    /// Suggests a reply to a mail, as it is written. A conversation of its own per mail.
    func suggest(to mail: String) async {
        await attempt {
            guard let learner, phase != .writing else { return }
            let chat = try learner.chat(surface: "mail.reply")
            self.chat = chat
            try await show { try await chat.respond(text: "Reply (friendly): \(mail)") }
        }
    }

    /// Another suggestion in place of this one, which counts as not wanted.
    func again() async {
        await attempt {
            guard let chat, phase == .ready else { return }
            try await show { try await chat.regenerate() }
        }
    }

    /// Ends the suggestion where it is. What was said stays.
    func stop() {
        generation?.cancel()
    }

    /// The user sends the draft: what they changed in it is what there is to learn.
    func send() async {
        await attempt {
            guard let learner, let reply, phase == .ready else { return }
            let signal: Signal = draft == reply.text ? .accepted : .edited(text: draft)
            try await learner.signal(replyId: reply.id, signal: signal)
            clear()
            try await refresh()
        }
    }

    /// The user leaves without sending.
    func discard() async {
        await attempt {
            guard let learner, let reply, phase == .ready else { return }
            try await learner.signal(replyId: reply.id, signal: .abandoned)
            clear()
        }
    }

    func forget(_ scope: Scope) async {
        await attempt {
            _ = try await learner?.forget(scope: scope)
            try await refresh()
        }
    }

    /// Takes back what was learned last.
    func rollback() async {
        await attempt {
            _ = try await learner?.rollback()
            try await refresh()
        }
    }

    private func show(_ begin: () async throws -> Generation) async throws {
        draft = ""
        reply = nil
        phase = .writing
        do {
            let generation = try await begin()
            self.generation = generation
            for try await event in generation.events {
                switch event {
                case .text(let delta): draft += delta
                case .done(let whole): reply = whole
                }
            }
        } catch {
            clear()
            throw error
        }
        generation = nil
        phase = .ready
    }

    private func clear() {
        draft = ""
        reply = nil
        generation = nil
        phase = .idle
    }

    private func refresh() async throws {
        guard let learner else { return }
        samples = try await learner.samples().reversed()
        adapters = try learner.adapters().reversed()
    }

    private func attempt(_ work: () async throws -> Void) async {
        problem = nil
        do {
            try await work()
        } catch is CancellationError {
            // The screen that asked is gone.
        } catch {
            problem = "\(error)"
        }
    }
}
