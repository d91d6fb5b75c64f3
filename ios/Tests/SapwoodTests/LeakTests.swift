import Foundation
import Sapwood
import XCTest

/// Memory over ten thousand replies.
final class LeakTests: LearnerTestCase {
    func testTenThousandRepliesTakeNoMoreMemoryThanTwoThousand() async throws {
        guard FileManager.default.fileExists(atPath: "/proc/self/status") else {
            throw XCTSkip("memory is read from /proc")
        }
        let learner = try await learner { $0.contextTokens = 128 }
        let sampling = Sampling(temperature: 0, maxTokens: 1, record: false)
        func after(_ replies: Int) async throws -> Int {
            for _ in 0..<replies { _ = try await learner.ask("Triage: it crashes", sampling: sampling) }
            return try residentKib()
        }
        let few = try await after(2_000)
        let grown = try await after(8_000) - few
        print("MEASURED: \(grown) KiB more after 10,000 replies than the \(few) KiB after 2,000")
        // One KiB per reply would be 8,000.
        XCTAssertLessThan(grown, 6_000)
    }

    private func residentKib() throws -> Int {
        let status = try String(contentsOfFile: "/proc/self/status", encoding: .utf8)
        let line = status.split(separator: "\n").first { $0.hasPrefix("VmRSS:") }
        return try XCTUnwrap(line.flatMap { Int($0.filter(\.isNumber)) })
    }
}
