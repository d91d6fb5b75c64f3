import Foundation
import FoundationModels
import Sapwood
import XCTest

/// A learner as the system's session drives it.
final class LanguageModelTests: XCTestCase {
    private let question = Transcript.Entry.prompt(said("Triage: I want my money back"))

    func testItStreamsAReplyAndNamesIt() async throws {
        let replies = Box<Reply>()
        let model = LearnerLanguageModel(
            try await opened(self), surface: "triage", replied: { replies.add($0) })
        let greedy = GenerationOptions(samplingMode: .greedy, maximumResponseTokens: 8)
        let sent = try await respond(model, [question], greedy)
        XCTAssertEqual(sent.map(\.action.text).joined(), "returns")
        let reply = try XCTUnwrap(replies.all.first)
        XCTAssertEqual(reply.text, "returns")
        XCTAssertEqual(sent.map(\.action.tokens).reduce(0, +), Int(reply.tokens))
    }

    func testInstructionsAndTurnsGoBeforeThePrompt() async throws {
        let replies = Box<Reply>()
        let model = LearnerLanguageModel(
            try await opened(self), surface: "triage", replied: { replies.add($0) })
        let one = GenerationOptions(samplingMode: .random(top: 1), maximumResponseTokens: 1)
        let before: [Transcript.Entry] = [
            .instructions(said("You sort mail.")), .prompt(said("Hello")), .response(said("Hi")),
        ]
        _ = try await respond(model, [question], one)
        _ = try await respond(model, before + [question], one)
        let tokens = replies.all.map(\.promptTokens)
        XCTAssertGreaterThan(tokens[1], tokens[0])
        XCTAssertEqual(replies.all.map(\.tokens), [1, 1])
    }

    func testWhatItCannotDoIsRefusedInTheFrameworksWords() async throws {
        let model = LearnerLanguageModel(try await opened(self), surface: "triage")
        let transcript = Transcript(entries: [question])
        let schema = LanguageModelExecutorGenerationRequest(
            transcript: transcript, schema: GenerationSchema())
        let tools = LanguageModelExecutorGenerationRequest(
            transcript: transcript, enabledTools: [.init()])
        let long = LanguageModelExecutorGenerationRequest(
            transcript: Transcript(
                entries: [.prompt(said(String(repeating: "x", count: 9999)))]))
        let image = LanguageModelExecutorGenerationRequest(
            transcript: Transcript(
                entries: [.prompt(.init(segments: [.attachment(.init())]))]))
        for (request, expected) in [
            (schema, "guidedGeneration"), (tools, "toolCalling"), (long, "256"), (image, "1 entry"),
        ] {
            do {
                _ = try await respond(model, request)
                XCTFail("\(expected): nothing was thrown")
            } catch LanguageModelError.unsupportedCapability(let error) {
                XCTAssertEqual("\(error.capability)", expected)
            } catch LanguageModelError.contextSizeExceeded(let error) {
                XCTAssertEqual("\(error.contextSize)", expected)
                XCTAssertGreaterThan(error.tokenCount, error.contextSize)
            } catch LanguageModelError.unsupportedTranscriptContent(let error) {
                XCTAssertEqual("\(error.unsupportedContent.count) entry", expected)
            }
        }
        XCTAssertFalse(model.capabilities.contains(.toolCalling))
    }

    private func respond(
        _ model: LearnerLanguageModel, _ entries: [Transcript.Entry], _ options: GenerationOptions
    ) async throws -> [LanguageModelExecutorGenerationChannel.Event] {
        try await respond(
            model,
            LanguageModelExecutorGenerationRequest(
                transcript: Transcript(entries: entries), generationOptions: options))
    }

    private func respond(
        _ model: LearnerLanguageModel, _ request: LanguageModelExecutorGenerationRequest
    ) async throws -> [LanguageModelExecutorGenerationChannel.Event] {
        let channel = LanguageModelExecutorGenerationChannel()
        let executor = LearnerLanguageModel.Executor(configuration: model.executorConfiguration)
        try await executor.respond(to: request, model: model, streamingInto: channel)
        return await channel.sent
    }
}

private func said(_ text: String) -> Transcript.Said {
    Transcript.Said(segments: [.text(.init(content: text))])
}

private final class Box<Value>: @unchecked Sendable {
    private let lock = NSLock()
    private var values: [Value] = []

    var all: [Value] { lock.withLock { values } }

    func add(_ value: Value) {
        lock.withLock { values.append(value) }
    }
}
