import Sapwood
import SwiftUI

/// What was kept and learned, and how to get rid of it.
struct LearnedView: View {
    let assistant: Assistant

    var body: some View {
        NavigationStack {
            List {
                Section("Learned") {
                    if assistant.adapters.isEmpty { Text("Nothing yet.") }
                    ForEach(assistant.adapters, id: \.adapter) { adapter in
                        LabeledContent("No. \(adapter.number), \(adapter.examples) examples") {
                            Text(verbatim: adapter.inForce ? "in use" : "\(adapter.state)")
                        }
                    }
                    if assistant.adapters.contains(where: \.inForce) {
                        Button("Take the last one back") { Task { await assistant.rollback() } }
                    }
                }
                Section("Kept") {
                    ForEach(assistant.samples, id: \.replyId) { sample in
                        VStack(alignment: .leading) {
                            Text(sample.prompt.last?.content ?? "").font(.footnote)
                            Text(sample.reply)
                        }
                        .swipeActions {
                            Button("Forget", role: .destructive) {
                                Task { await assistant.forget(.reply(replyId: sample.replyId)) }
                            }
                        }
                    }
                }
                Section {
                    Button("Forget everything", role: .destructive) {
                        Task { await assistant.forget(.everything) }
                    }
                }
            }
            .navigationTitle("Learned")
        }
    }
}
