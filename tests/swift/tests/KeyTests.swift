import Foundation
import Sapwood
import Security
import SapwoodTasks
import XCTest

final class KeyTests: XCTestCase {
    override func setUp() {
        Keychain.items = [:]
        Keychain.locked = false
        Keychain.beforeAdding = {}
    }

    func testTheKeyIsMadeOnceAndStaysOnTheDevice() throws {
        let key = try LearnerKey.load()
        XCTAssertEqual(key.count, 32)
        XCTAssertEqual(try LearnerKey.load(), key)
        XCTAssertNotEqual(try LearnerKey.load("another"), key)
        let item = try XCTUnwrap(Keychain.items["sapwood.key/sapwood"])
        XCTAssertEqual(
            item[kSecAttrAccessible] as? String, kSecAttrAccessibleAfterFirstUnlockThisDeviceOnly)
        XCTAssertEqual(item[kSecAttrSynchronizable] as? Bool, false)
        XCTAssertEqual(item[kSecUseDataProtectionKeychain] as? Bool, true)
    }

    func testALockedDeviceMakesNoSecondKey() throws {
        let key = try LearnerKey.load()
        Keychain.locked = true
        XCTAssertThrowsError(try LearnerKey.load()) {
            XCTAssertEqual($0 as? LearnerKey.Failure, .locked)
        }
        XCTAssertThrowsError(try LearnerKey.load("new")) {
            XCTAssertEqual($0 as? LearnerKey.Failure, .locked)
        }
        Keychain.locked = false
        XCTAssertEqual(try LearnerKey.load(), key)
    }

    func testWhoeverIsFasterHasTheKey() throws {
        let theirs = Data(repeating: 7, count: 32)
        Keychain.beforeAdding = {
            Keychain.items["sapwood.key/sapwood"] = [kSecValueData: theirs]
        }
        XCTAssertEqual(try LearnerKey.load(), theirs)
    }

    func testWhatIsNoKeyIsRefusedAndNotReplaced() throws {
        Keychain.items["sapwood.key/sapwood"] = [kSecValueData: Data(count: 5)]
        XCTAssertThrowsError(try LearnerKey.load()) {
            XCTAssertEqual($0 as? LearnerKey.Failure, .notAKey)
        }
        XCTAssertEqual(Keychain.items["sapwood.key/sapwood"]?[kSecValueData] as? Data, Data(count: 5))
    }

    func testADeletedKeyIsGone() throws {
        let key = try LearnerKey.load()
        try LearnerKey.delete()
        try LearnerKey.delete()
        XCTAssertNotEqual(try LearnerKey.load(), key)
    }

    func testTheFolderAndTheKeyOpenALearner() async throws {
        let parent = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        defer { try? FileManager.default.removeItem(at: parent) }
        let folder = try LearnerFolder.prepare("sapwood", in: parent)
        XCTAssertEqual(try LearnerFolder.prepare("sapwood", in: parent), folder)
        let config = Config(folder: folder.path, key: try LearnerKey.load())
        _ = try await Learner.open(config: config)
        XCTAssertFalse(try FileManager.default.contentsOfDirectory(atPath: folder.path).isEmpty)
    }
}
