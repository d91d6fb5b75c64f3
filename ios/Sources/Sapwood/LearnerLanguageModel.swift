#if canImport(FoundationModels, _version: 2)
import Foundation
import FoundationModels

/// A learner behind the system's own interface to language models:
///
///     let session = LanguageModelSession(model: LearnerLanguageModel(learner, surface: "mail"))
///     print(try await session.respond(to: "Where is my parcel?").content)
///
/// It answers in text. A request for a schema or with tools is refused with the framework's own
/// error. The session has no place for the id of a reply, so `replied` gets each whole reply:
/// `learner.signal` takes the id from there.
@available(iOS 27.0, macOS 27.0, visionOS 27.0, *)
public struct LearnerLanguageModel: LanguageModel {
    let learner: Learner
    let surface: String
    let sampling: Sampling
    let replied: @Sendable (Reply) -> Void

    public init(
        _ learner: Learner,
        surface: String,
        sampling: Sampling = Sampling(),
        replied: @escaping @Sendable (Reply) -> Void = { _ in }
    ) {
        self.learner = learner
        self.surface = surface
        self.sampling = sampling
        self.replied = replied
    }

    public var capabilities: LanguageModelCapabilities { LanguageModelCapabilities([]) }

    public var executorConfiguration: Executor.Configuration { Executor.Configuration() }

    /// Makes replies. It has no state: each request brings its model.
    public struct Executor: LanguageModelExecutor {
        public typealias Model = LearnerLanguageModel

        public struct Configuration: Hashable, Sendable {}

        public init(configuration: Configuration) {}

        /// Nothing to do: a learner is in memory from the moment it is opened.
        public func prewarm(model: LearnerLanguageModel, transcript: Transcript) {}

        public func respond(
            to request: LanguageModelExecutorGenerationRequest,
            model: LearnerLanguageModel,
            streamingInto channel: LanguageModelExecutorGenerationChannel
        ) async throws {
            try refuse(request)
            var conversation = try Conversation(request.transcript)
            let prompt = conversation.takePrompt()
            let chat = try model.learner.chat(
                surface: model.surface,
                instructions: conversation.instructions,
                turns: conversation.turns)
            let sampling = model.sampling.with(request.generationOptions)
            var counted = 0
            do {
                for try await event in chat.stream(prompt, sampling: sampling) {
                    switch event {
                    case .text(let delta):
                        counted += 1
                        await channel.send(.response(action: .appendText(delta, tokenCount: 1)))
                    case .done(let reply):
                        // A piece of text holds one token or more: the rest is counted here.
                        let rest = max(0, Int(reply.tokens) - counted)
                        await channel.send(.response(action: .appendText("", tokenCount: rest)))
                        model.replied(reply)
                    }
                }
            } catch LearnerError.TooLong(let needed, let capacity) {
                throw LanguageModelError.contextSizeExceeded(
                    .init(
                        contextSize: Int(capacity), tokenCount: Int(needed),
                        debugDescription: "Open the learner with more contextTokens."))
            }
        }

        private func refuse(_ request: LanguageModelExecutorGenerationRequest) throws {
            if request.schema != nil {
                throw LanguageModelError.unsupportedCapability(
                    .init(
                        capability: .guidedGeneration,
                        debugDescription: "This model answers in text, not to a schema."))
            }
            if !request.enabledToolDefinitions.isEmpty {
                throw LanguageModelError.unsupportedCapability(
                    .init(
                        capability: .toolCalling,
                        debugDescription: "This model calls no tools: open the session without."))
            }
        }
    }
}

/// A transcript as a learner takes it: instructions, turns so far, and the prompt to answer.
@available(iOS 27.0, macOS 27.0, visionOS 27.0, *)
private struct Conversation {
    var instructions: String?
    var turns: [Message] = []

    init(_ transcript: Transcript) throws {
        for entry in transcript {
            switch entry {
            case .instructions(let said):
                instructions = try Self.text(said.segments, of: entry)
            case .prompt(let said):
                turns.append(Message(role: .user, content: try Self.text(said.segments, of: entry)))
            case .response(let said):
                turns.append(
                    Message(role: .assistant, content: try Self.text(said.segments, of: entry)))
            default:
                throw Self.unsupported(entry)
            }
        }
    }

    /// The last turn, which is left out of the turns so far.
    mutating func takePrompt() -> String {
        turns.popLast()?.content ?? ""
    }

    private static func text(
        _ segments: [Transcript.Segment], of entry: Transcript.Entry
    ) throws -> String {
        try segments.map { segment in
            guard case .text(let text) = segment else { throw unsupported(entry) }
            return text.content
        }.joined(separator: "\n")
    }

    private static func unsupported(_ entry: Transcript.Entry) -> LanguageModelError {
        .unsupportedTranscriptContent(
            .init(unsupportedContent: [entry], debugDescription: "This model reads text alone."))
    }
}

@available(iOS 27.0, macOS 27.0, visionOS 27.0, *)
extension Sampling {
    /// With what a request sets of its own.
    fileprivate func with(_ options: GenerationOptions) -> Sampling {
        var sampling = self
        if let temperature = options.temperature {
            sampling.temperature = Float(max(0, temperature))
        }
        if let most = options.maximumResponseTokens {
            sampling.maxTokens = UInt32(clamping: most)
        }
        if let kind = options.samplingMode?.kind {
            switch kind {
            case .greedy:
                sampling.temperature = 0
            case .randomTopK(let topK, let seed):
                sampling.topK = UInt32(clamping: topK)
                sampling.topP = 1
                sampling.minP = 0
                sampling.seed = seed ?? .random(in: .min ... .max)
            case .randomProbabilityThreshold(let topP, let seed):
                sampling.topK = 0
                sampling.topP = Float(topP)
                sampling.minP = 0
                sampling.seed = seed ?? .random(in: .min ... .max)
            @unknown default:
                break
            }
        }
        return sampling
    }
}
#endif
