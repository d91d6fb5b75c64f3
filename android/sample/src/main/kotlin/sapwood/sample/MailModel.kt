package sapwood.sample

import androidx.lifecycle.ViewModel
import androidx.lifecycle.viewModelScope
import kotlinx.coroutines.Job
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.StateFlow
import kotlinx.coroutines.flow.asStateFlow
import kotlinx.coroutines.flow.update
import kotlinx.coroutines.launch
import sapwood.AdapterInfo
import sapwood.Chat
import sapwood.Consent
import sapwood.Event
import sapwood.LearnerException
import sapwood.Reply
import sapwood.Sample
import sapwood.Scope
import sapwood.Signal
import sapwood.android.AppLearner
import sapwood.io
import sapwood.stream
import sapwood.streamAgain

data class Mail(val from: String, val text: String)

/** What was kept, and what was made of it. */
data class Memory(val samples: List<Sample>, val adapters: List<AdapterInfo>)

/** All that is on the screen. */
data class MailState(
    val inbox: List<Mail> = INBOX,
    /** Null until the learner is open. */
    val consent: Consent? = null,
    val mail: Mail? = null,
    val draft: String = "",
    /** The reply that the draft began as. */
    val suggestion: Reply? = null,
    val writing: Boolean = false,
    val memory: Memory? = null,
    val problem: LearnerException? = null,
)

/** Knows what to do, and nothing of how it looks. Its functions return at once. */
class MailModel(private val app: AppLearner) : ViewModel() {
    private val shown = MutableStateFlow(MailState())
    private var open: Chat? = null
    /** The chat has a reply that another one can take the place of. */
    private var replied = false
    private var writing: Job? = null

    val state: StateFlow<MailState> = shown.asStateFlow()

    init {
        act { showConsent() }
    }

    fun agree(granted: Boolean) = act {
        app.setConsent(granted)
        showConsent()
    }

    fun open(mail: Mail) {
        leave()
        shown.update { it.copy(mail = mail) }
    }

    /** Writes a reply into the draft, or another one in its place. */
    fun suggest() {
        val mail = shown.value.mail ?: return
        val before = writing
        writing = act {
            before?.cancelAndJoin()
            val chat = chat()
            shown.update { it.copy(draft = "", suggestion = null, writing = true) }
            try {
                val events = if (replied) chat.streamAgain() else chat.stream(prompt(mail))
                events.collect { event ->
                    replied = true
                    when (event) {
                        is Event.Text -> shown.update { it.copy(draft = it.draft + event.delta) }
                        is Event.Done -> shown.update { it.copy(suggestion = event.reply) }
                    }
                }
            } finally {
                shown.update { it.copy(writing = false) }
            }
        }
    }

    /** Ends the reply where it is; what was written stays. */
    fun stop() {
        writing?.cancel()
    }

    fun edit(text: String) = shown.update { it.copy(draft = text) }

    /** Sends the draft, and with it tells what the user made of the suggestion: the only teacher. */
    fun send() {
        val (suggestion, text) = shown.value.let { it.suggestion to it.draft }
        leave()
        if (suggestion == null) return
        val done = if (text == suggestion.text) Signal.Accepted else Signal.Edited(text)
        act { app.get().io { signal(suggestion.id, done) } }
    }

    /** Closes the mail without an answer. */
    fun leave() {
        val (job, chat) = writing to open
        writing = null
        open = null
        replied = false
        shown.update { it.copy(mail = null, draft = "", suggestion = null) }
        act {
            job?.cancelAndJoin()
            chat?.close()
        }
    }

    fun showMemory() = act {
        val memory = app.get().io { Memory(samples().asReversed(), adapters().asReversed()) }
        shown.update { it.copy(memory = memory) }
    }

    fun hideMemory() = shown.update { it.copy(memory = null) }

    /** Forgets one exchange, with every adapter that learned from it. */
    fun forget(sample: Sample) = act {
        app.get().io { forget(Scope.Reply(sample.replyId)) }
        showMemory()
    }

    /** Forgets everything and begins anew, also with a store that can't be opened. */
    fun forgetAll() {
        leave()
        act {
            app.erase()
            shown.update { it.copy(memory = null, problem = null) }
            showConsent()
        }
    }

    fun dismiss() = shown.update { it.copy(problem = null) }

    override fun onCleared() {
        open?.close()
    }

    private suspend fun chat(): Chat =
        open ?: app.get().io { chat("mail.reply") }.also { open = it }

    private suspend fun showConsent() {
        val consent = app.get().io { consent() }
        shown.update { it.copy(consent = consent) }
    }

    private fun act(work: suspend () -> Unit): Job = viewModelScope.launch {
        try {
            work()
        } catch (error: LearnerException) {
            // After a bug of the library the next call opens it anew.
            if (error is LearnerException.Fault) app.close()
            shown.update { it.copy(problem = error) }
        }
    }

    /** As the built-in model was taught to be asked. Another model takes plain instructions. */
    private fun prompt(mail: Mail) = "Reply (friendly): ${mail.text}"
}

private val INBOX = listOf(
    Mail("Mia", "I want my money back for the lamp."),
    Mail("Jonas", "Can we have the review on Monday at 10:00?"),
    Mail("Lea", "Please send me the report."),
    Mail("Paul", "Will the books come on Friday?"),
)
