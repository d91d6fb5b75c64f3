// Stands in for Apple's CryptoKit, as far as Sapwood uses it. This is no cipher: a stream of numbers
// and a sum, made from the key and a nonce. Enough to tell whether a key is the right one, and
// whether a byte was changed.

import Foundation

public enum CryptoKitError: Error {
    case authenticationFailure
    case incorrectParameterSize
}

public struct SymmetricKeySize: Sendable {
    public static let bits256 = SymmetricKeySize(bitCount: 256)
    public let bitCount: Int
}

public struct SymmetricKey: Sendable {
    fileprivate let bytes: [UInt8]

    public init(size: SymmetricKeySize) {
        bytes = (0..<size.bitCount / 8).map { _ in .random(in: .min ... .max) }
    }

    public init(data: Data) {
        bytes = Array(data)
    }

    public func withUnsafeBytes<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R {
        try bytes.withUnsafeBytes(body)
    }
}

public enum AES {
    public enum GCM {
        public struct SealedBox: Sendable {
            fileprivate let nonce: [UInt8]
            fileprivate let text: [UInt8]
            fileprivate let tag: [UInt8]

            fileprivate init(nonce: [UInt8], text: [UInt8], tag: [UInt8]) {
                (self.nonce, self.text, self.tag) = (nonce, text, tag)
            }

            public init(combined: Data) throws {
                let bytes = Array(combined)
                guard bytes.count >= 28 else { throw CryptoKitError.incorrectParameterSize }
                nonce = Array(bytes.prefix(12))
                text = Array(bytes.dropFirst(12).dropLast(16))
                tag = Array(bytes.suffix(16))
            }

            /// Of a nonce of twelve bytes there always is one.
            public var combined: Data? { Data(nonce + text + tag) }
        }

        public static func seal(_ message: Data, using key: SymmetricKey) throws -> SealedBox {
            let nonce: [UInt8] = (0..<12).map { _ in .random(in: .min ... .max) }
            let text = zip(message, stream(key, nonce, message.count)).map(^)
            return SealedBox(nonce: nonce, text: text, tag: stream(key, nonce + text, 16))
        }

        public static func open(_ box: SealedBox, using key: SymmetricKey) throws -> Data {
            guard stream(key, box.nonce + box.text, 16) == box.tag else {
                throw CryptoKitError.authenticationFailure
            }
            return Data(zip(box.text, stream(key, box.nonce, box.text.count)).map(^))
        }

        private static func stream(
            _ key: SymmetricKey, _ seed: [UInt8], _ count: Int
        ) -> [UInt8] {
            var state: UInt64 = 14_695_981_039_346_656_037
            for byte in key.bytes + seed { state = (state ^ UInt64(byte)) &* 1_099_511_628_211 }
            return (0..<count).map { _ in
                state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                return UInt8(truncatingIfNeeded: state >> 56)
            }
        }
    }
}
