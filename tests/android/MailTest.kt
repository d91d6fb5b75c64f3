package sapwood.sample

import kotlin.test.assertEquals
import kotlin.test.assertNotEquals
import kotlin.test.assertNull
import kotlin.test.assertTrue
import kotlin.time.Duration.Companion.seconds
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeout
import org.junit.After
import org.junit.Rule
import org.junit.Test
import sapwood.Consent
import sapwood.LearnerException
import sapwood.Signal
import sapwood.StopReason
import sapwood.android.FakeKeystore
import sapwood.android.Phone

/** What a user of the sample does, without the screen. */
class MailTest {
    @get:Rule val phone = Phone()
    private val model by lazy { MailModel(phone.app.learner) }

    @After fun clear() = model.clear()

    @Test fun `a reply is suggested, edited, sent, learned from and forgotten`() = runBlocking {
        until { consent == Consent.UNASKED }
        model.agree(true)
        until { consent == Consent.GRANTED }
        val suggested = suggest()
        assertEquals(suggested.suggestion!!.text, suggested.draft)
        model.edit("No. Sorry!\nThe team")
        model.send()
        until { mail == null }
        model.showMemory()
        // What was sent may be on its way still.
        var memory = until { memory?.samples.orEmpty().size == 1 }.memory!!
        while (memory.samples.single().signals.isEmpty()) {
            model.hideMemory()
            model.showMemory()
            memory = until { this.memory != null }.memory!!
        }
        assertEquals(listOf<Signal>(Signal.Edited("No. Sorry!\nThe team")), memory.samples.single().signals)
        assertTrue(suggest().suggestion!!.retrieved > 0u, "the correction is shown to the model")
        model.leave()
        model.forget(memory.samples.single())
        until { this.memory?.samples?.none { it.replyId == memory.samples.single().replyId } == true }
        Unit
    }

    @Test fun `another reply takes the place of the first`() = runBlocking {
        val first = suggest()
        model.suggest()
        val second = until { suggestion != null && suggestion!!.id != first.suggestion!!.id }
        assertEquals(second.suggestion!!.text, second.draft)
    }

    @Test fun `a reply that is stopped stays as far as it came`() = runBlocking {
        model.open(model.state.value.inbox[0])
        model.suggest()
        until { draft.isNotEmpty() }
        model.stop()
        val stopped = until { !writing }
        assertTrue(stopped.draft.isNotEmpty())
        // If it was over before it could be stopped, it is a whole one.
        assertTrue(stopped.suggestion == null || stopped.suggestion!!.stop == StopReason.END)
        model.suggest()
        val again = until { suggestion != null && !writing }
        assertEquals(again.suggestion!!.text, again.draft)
    }

    @Test fun `a store whose key is lost can be begun anew`() = runBlocking {
        until { consent == Consent.UNASKED }
        phone.app.learner.close()
        FakeKeystore.held.clear()
        model.showMemory()
        until { problem is LearnerException.Key }
        model.forgetAll()
        assertNull(until { problem == null && memory == null }.memory)
        assertNotEquals("", suggest().draft)
    }

    private suspend fun suggest(): MailState {
        model.open(model.state.value.inbox[0])
        model.suggest()
        return until { suggestion != null && !writing }
    }

    private suspend fun until(holds: MailState.() -> Boolean): MailState =
        withTimeout(30.seconds) { model.state.first { it.holds() } }
}
