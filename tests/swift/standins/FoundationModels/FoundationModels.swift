// Stands in for the part of Apple's FoundationModels (version 2, of iOS 27) that a model package
// conforms to. The channel keeps what it is sent.

import Foundation

public protocol LanguageModel: Sendable {
    associatedtype Executor: LanguageModelExecutor where Self == Executor.Model
    var capabilities: LanguageModelCapabilities { get }
    var executorConfiguration: Executor.Configuration { get }
}

public protocol LanguageModelExecutor: Sendable {
    associatedtype Configuration: Hashable, Sendable
    associatedtype Model: LanguageModel
    init(configuration: Configuration) throws
    func prewarm(model: Model, transcript: Transcript)
    func respond(
        to request: LanguageModelExecutorGenerationRequest, model: Model,
        streamingInto channel: LanguageModelExecutorGenerationChannel
    ) async throws
}

public struct LanguageModelCapabilities: Sendable {
    public enum Capability: Sendable {
        case vision
        case guidedGeneration
        case reasoning
        case toolCalling
    }

    private let all: [Capability]
    public init(_ capabilities: [Capability]) { all = capabilities }
    public func contains(_ capability: Capability) -> Bool { all.contains(capability) }
}

public struct GenerationSchema: Sendable {
    public init() {}
}

public struct GenerationOptions: Sendable {
    public struct SamplingMode: Sendable {
        public enum Kind: Sendable {
            case greedy
            case randomTopK(_ topK: Int, seed: UInt64?)
            case randomProbabilityThreshold(_ probabilityThreshold: Double, seed: UInt64?)
        }

        public let kind: Kind
        public static var greedy: SamplingMode { SamplingMode(kind: .greedy) }
        public static func random(top k: Int, seed: UInt64? = nil) -> SamplingMode {
            SamplingMode(kind: .randomTopK(k, seed: seed))
        }
    }

    public var samplingMode: SamplingMode?
    public var temperature: Double?
    public var maximumResponseTokens: Int?

    public init(
        samplingMode: SamplingMode? = nil, temperature: Double? = nil,
        maximumResponseTokens: Int? = nil
    ) {
        self.samplingMode = samplingMode
        self.temperature = temperature
        self.maximumResponseTokens = maximumResponseTokens
    }
}

public struct Transcript: Sendable, RandomAccessCollection {
    public struct TextSegment: Sendable {
        public var content: String
        public init(content: String) { self.content = content }
    }

    public struct Attachment: Sendable {
        public init() {}
    }

    public enum Segment: Sendable {
        case text(TextSegment)
        case attachment(Attachment)
    }

    public struct Said: Sendable {
        public var segments: [Segment]
        public init(segments: [Segment]) { self.segments = segments }
    }

    public struct ToolDefinition: Sendable {
        public init() {}
    }

    public enum Entry: Sendable {
        case instructions(Said)
        case prompt(Said)
        case toolCalls(Said)
        case response(Said)
    }

    private let entries: [Entry]
    public init(entries: [Entry]) { self.entries = entries }
    public var startIndex: Int { entries.startIndex }
    public var endIndex: Int { entries.endIndex }
    public subscript(index: Int) -> Entry { entries[index] }
}

public struct LanguageModelExecutorGenerationRequest: Sendable {
    public var transcript: Transcript
    public var enabledToolDefinitions: [Transcript.ToolDefinition]
    public var schema: GenerationSchema?
    public var generationOptions: GenerationOptions

    public init(
        transcript: Transcript, enabledTools: [Transcript.ToolDefinition] = [],
        schema: GenerationSchema? = nil, generationOptions: GenerationOptions = .init()
    ) {
        self.transcript = transcript
        self.enabledToolDefinitions = enabledTools
        self.schema = schema
        self.generationOptions = generationOptions
    }
}

public actor LanguageModelExecutorGenerationChannel {
    public struct Response: Sendable {
        public struct Action: Sendable {
            public let text: String
            public let tokens: Int
            public static func appendText(
                _ text: String, segmentID: String? = nil, tokenCount: Int
            ) -> Action {
                Action(text: text, tokens: tokenCount)
            }
        }
    }

    public struct Event: Sendable {
        public let action: Response.Action
        public static func response(
            entryID: String? = nil, action: Response.Action
        ) -> Event {
            Event(action: action)
        }
    }

    public private(set) var sent: [Event] = []
    public init() {}
    public func send(_ event: Event) { sent.append(event) }
}

public enum LanguageModelError: Error {
    public struct ContextSizeExceeded: Sendable {
        public var contextSize: Int
        public var tokenCount: Int
        public init(contextSize: Int, tokenCount: Int, debugDescription: String) {
            self.contextSize = contextSize
            self.tokenCount = tokenCount
        }
    }

    public struct UnsupportedCapability: Sendable {
        public var capability: LanguageModelCapabilities.Capability
        public init(capability: LanguageModelCapabilities.Capability, debugDescription: String) {
            self.capability = capability
        }
    }

    public struct UnsupportedTranscriptContent: Sendable {
        public var unsupportedContent: [Transcript.Entry]
        public init(unsupportedContent: [Transcript.Entry], debugDescription: String) {
            self.unsupportedContent = unsupportedContent
        }
    }

    case contextSizeExceeded(ContextSizeExceeded)
    case unsupportedCapability(UnsupportedCapability)
    case unsupportedTranscriptContent(UnsupportedTranscriptContent)
}
