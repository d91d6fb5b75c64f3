package sapwood

import java.io.File
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertNull
import kotlin.test.assertTrue
import kotlinx.coroutines.runBlocking
import org.junit.Rule
import org.junit.Test

/** Recording without a model, and all that is kept, handed over. */
class CaptureTest {
    @get:Rule val given = Given()
    private val shown = Shown(
        surface = "mail",
        turns = listOf(Message(Role.USER, "Tuesday?")),
        reply = "Fine, Tuesday then.",
    )

    @Test fun `a process without a model records beside the learner`() = runBlocking {
        val learner = given.learner()
        openCapture(given.config()).use { capture ->
            assertNull(capture.io { reply(shown) }, "nobody consented")
            learner.setConsent(Consent.GRANTED)
            assertEquals(Consent.GRANTED, capture.consent())
            val reply = checkNotNull(capture.io { reply(shown) })
            capture.io { signal(reply, Signal.Edited("Tuesday is fine.")) }
            capture.io { flush() }
            learner.signal(reply, Signal.Accepted)
            val sample = learner.samples().single()
            assertEquals(reply, sample.replyId)
            assertEquals(listOf(Signal.Edited("Tuesday is fine."), Signal.Accepted), sample.signals)
            assertFailsWith<LearnerException.NotFound> {
                capture.signal("0".repeat(32), Signal.Accepted)
            }
            assertFailsWith<LearnerException.Invalid> { capture.reply(shown.copy(adapter = "x")) }
        }
        Unit
    }

    @Test fun `all that is kept is handed over`() = runBlocking {
        val learner = given.taught()
        val folder = File(given.folder.path + "-exported")
        try {
            assertEquals(Exported(12u, 0u, 0u), learner.io { exportData(folder.path) })
            assertTrue("logistics" in File(folder, "turns.json").readText())
            assertFailsWith<LearnerException.Storage> { learner.exportData(folder.path) }
        } finally {
            folder.deleteRecursively()
        }
        learner.refuse("0".repeat(64))
        learner.confirmBase()
    }
}
