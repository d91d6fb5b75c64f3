import Sapwood
import SwiftUI

/// A mail, and the reply that is suggested to it.
struct ReplyView: View {
    @Bindable var assistant: Assistant
    @State private var mail = "Where is my parcel? It should have been here on Friday."

    var body: some View {
        NavigationStack {
            Form {
                if assistant.consent == .unasked { ConsentSection(assistant: assistant) }
                Section("Mail") {
                    TextField("What they wrote", text: $mail, axis: .vertical)
                    Button("Suggest a reply") { Task { await assistant.suggest(to: mail) } }
                        .disabled(assistant.phase == .closed || assistant.phase == .writing)
                }
                if assistant.phase == .writing || assistant.phase == .ready {
                    Section("Reply") {
                        TextEditor(text: $assistant.draft)
                            .frame(minHeight: 120)
                            .disabled(assistant.phase == .writing)
                        buttons
                    }
                }
                if let problem = assistant.problem {
                    Section { Text(problem).foregroundStyle(.red) }
                }
            }
            .navigationTitle("Reply")
        }
    }

    @ViewBuilder private var buttons: some View {
        if assistant.phase == .writing {
            Button("Stop") { assistant.stop() }
        } else {
            Button("Send") { Task { await assistant.send() } }
            Button("Another one") { Task { await assistant.again() } }
            Button("Discard", role: .destructive) { Task { await assistant.discard() } }
        }
    }
}

/// Asked once, before anything is kept.
private struct ConsentSection: View {
    let assistant: Assistant

    var body: some View {
        Section("May this app learn from what you send?") {
            Text(
                """
                It keeps mails, suggestions and what you make of them, encrypted, on this device \
                alone, to suggest better replies. You can look at all of it, and have it forgotten.
                """)
            Button("Yes") { Task { await assistant.answer(.granted) } }
            Button("No") { Task { await assistant.answer(.refused) } }
        }
    }
}
