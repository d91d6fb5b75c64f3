package sapwood

import kotlin.reflect.KClass
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertFalse
import kotlin.test.assertTrue
import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.runBlocking
import org.junit.Rule
import org.junit.Test

/** What goes wrong, and what an app is told. */
class ErrorTest {
    @get:Rule val given = Given()

    @Test fun `errors are typed, numbered and explained`() = runBlocking {
        val learner = given.learner()
        fails(LearnerException.Invalid::class, 1) { given.learner { key = ByteArray(5) } }
        fails(LearnerException.Invalid::class, 1) { learner.signal("?", Signal.Accepted) }
        fails(LearnerException.Invalid::class, 1) { learner.ask("x", Sampling(topP = 2f)) }
        fails(LearnerException.TooLong::class, 2) { learner.ask("x".repeat(9999)) }
        fails(LearnerException.NotFound::class, 3) { learner.io { rollback() } }
        fails(LearnerException.Model::class, 5) { given.learner { model = "/nowhere.gguf" } }
        fails(LearnerException.Adapter::class, 6) { learner.io { stage(ByteArray(9)) } }
        fails(LearnerException.Key::class, 7) { given.learner { key = ByteArray(32) } }
        fails(LearnerException.Storage::class, 8) { given.learner { folder = "/proc/nothing" } }
    }

    @Test fun `an error ends the flow and leaves the chat usable`() = runBlocking {
        val chat = given.learner().chat("triage")
        assertFailsWith<LearnerException.TooLong> { chat.stream("x".repeat(9999)).toList() }
        assertTrue(chat.stream("Triage: it crashes", greedy).toList().last() is Event.Done)
    }

    /** Needs a library with the feature `faults`, whose `panicInside` panics as a bug would. */
    @Test fun `a panic is an error, and the learner opens again`() = runBlocking {
        val learner = given.learner()
        val chat = learner.chat("triage")
        fails(LearnerException.Fault::class, 9) { learner.panicInside() }
        fails(LearnerException.Fault::class, 9) { learner.samples() }
        fails(LearnerException.Fault::class, 9) { chat.stream("Triage: it crashes").toList() }
        assertEquals("returns", given.learner().ask("Triage: I want my money back").text)
    }

    private suspend fun fails(kind: KClass<out LearnerException>, code: Int, call: suspend () -> Unit) {
        val error = assertFailsWith<LearnerException>(kind.simpleName) { call() }
        assertEquals(kind, error::class)
        assertEquals(code.toUInt(), error.code())
        assertTrue(error.toString().length > 5)
        assertFalse("detail=" in error.toString(), error.toString())
    }
}
