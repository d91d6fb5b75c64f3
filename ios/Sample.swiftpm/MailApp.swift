import Sapwood
import SapwoodTasks
import SwiftUI
import os

@main
struct MailApp: App {
    @Environment(\.scenePhase) private var scenePhase
    @State private var assistant = Assistant { try await TheLearner.monitor().learner }
    private let training = TrainingTask(
        identifier: "example.sapwood.mail.learn",
        monitor: { try await TheLearner.monitor() },
        reported: { result in
            // Figures and reasons, never what somebody wrote.
            let log = Logger(subsystem: "example.sapwood.mail", category: "learning")
            switch result {
            case .success(let report): log.info("\(report.summary, privacy: .public)")
            case .failure(let error): log.error("\(String(describing: error), privacy: .public)")
            }
        })

    init() {
        if !training.register() {
            fatalError("the training task's identifier is missing in Info.plist")
        }
    }

    var body: some Scene {
        WindowGroup {
            TabView {
                ReplyView(assistant: assistant)
                    .tabItem { Label("Reply", systemImage: "arrowshape.turn.up.left") }
                LearnedView(assistant: assistant)
                    .tabItem { Label("Learned", systemImage: "leaf") }
            }
            .task { await assistant.start() }
        }
        .onChange(of: scenePhase) {
            // On the simulator there is nobody to submit to.
            if scenePhase == .background { try? training.schedule() }
        }
    }
}

/// The app's one learner, opened when it is first asked for: by a screen, or at night by the system.
@MainActor
enum TheLearner {
    private static var opening: Task<DeviceMonitor, any Error>?

    static func monitor() async throws -> DeviceMonitor {
        let task = opening ?? Task {
            let config = try Config.onDevice()
            return DeviceMonitor(try await Learner.open(config: config))
        }
        opening = task
        do {
            return try await task.value
        } catch {
            // The device was not unlocked yet, say: the next one tries again.
            opening = nil
            throw error
        }
    }
}
