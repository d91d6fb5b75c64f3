import Dispatch

/// Does `work`, which blocks, on a thread of its own. Swift's own pool has one thread per core, and
/// one that waits there is missing to everything else in the app.
///
/// The work itself is not interrupted: a caller that is cancelled leaves when it is done.
func blocking<Made: Sendable>(
    for quality: DispatchQoS = .userInitiated, _ work: @escaping @Sendable () throws -> Made
) async throws -> Made {
    let slot = Slot<Made>()
    await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
        // A serial queue gets a thread at once; a shared, concurrent one may let its work wait.
        DispatchQueue(label: "sapwood", qos: quality).async {
            slot.made = Result(catching: work)
            continuation.resume()
        }
    }
    return try slot.take()
}

/// Hands a result over so that nothing on the other thread keeps it alive: a reply ends when its
/// last reference goes, and that must be the caller's.
private final class Slot<Made>: @unchecked Sendable {
    /// Written before the caller is resumed and read after that, never at the same time.
    var made: Result<Made, any Error>?

    func take() throws -> Made {
        defer { made = nil }
        return try made!.get()
    }
}
