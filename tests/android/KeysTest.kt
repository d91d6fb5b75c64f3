package sapwood.android

import androidx.work.ListenableWorker.Result
import androidx.work.WorkerParameters
import java.security.SecureRandom
import kotlin.test.assertContentEquals
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertFalse
import kotlin.test.assertSame
import kotlin.time.Duration
import kotlinx.coroutines.runBlocking
import org.junit.Rule
import org.junit.Test
import sapwood.Erasure
import sapwood.KeyProviderException
import sapwood.LearnerException
import sapwood.Scope
import sapwood.android.FakeKeystore.State
import sapwood.ask
import sapwood.io

/** The Keystore's keys: what they open, and when they are gone. */
class KeysTest {
    @get:Rule val phone = Phone()
    private val keys = KeystoreKeys()
    private val secret = ByteArray(32).also { SecureRandom().nextBytes(it) }

    @Test fun `each epoch and store has a key of its own`() {
        val others = KeystoreKeys("sapwood.mail")
        keys.createEpoch(1u)
        keys.createEpoch(2u)
        others.createEpoch(1u)
        val aliases = setOf("sapwood.keys.sapwood.1", "sapwood.keys.sapwood.2", "sapwood.keys.sapwood.mail.1")
        assertEquals(aliases, FakeKeystore.held.keys)
        val wrapped = keys.wrap(1u, secret)
        assertContentEquals(secret, keys.unwrap(1u, wrapped))
        assertFalse(wrapped.contentEquals(keys.wrap(1u, secret)), "no nonce comes twice")
        lost { keys.unwrap(2u, wrapped) }
        lost { others.unwrap(1u, wrapped) }
        for (at in wrapped.indices) {
            lost { keys.unwrap(1u, wrapped.clone().also { it[at] = (it[at] + 1).toByte() }) }
            lost { keys.unwrap(1u, wrapped.copyOf(at)) }
        }
    }

    @Test fun `a key that is destroyed or made anew opens nothing more`() {
        keys.createEpoch(1u)
        val first = keys.wrap(1u, secret)
        keys.createEpoch(1u)
        lost { keys.unwrap(1u, first) }
        val second = keys.wrap(1u, secret)
        repeat(2) { keys.destroyEpoch(1u) }
        lost { keys.unwrap(1u, second) }
        lost { keys.wrap(1u, secret) }
    }

    @Test fun `all keys of a store go at once, and no others`() {
        val others = KeystoreKeys("sapwood.mail")
        for (epoch in listOf(1uL, 12uL, ULong.MAX_VALUE)) keys.createEpoch(epoch)
        others.createEpoch(3u)
        keys.destroyAll()
        assertEquals(setOf("sapwood.keys.sapwood.mail.3"), FakeKeystore.held.keys)
    }

    @Test fun `what may pass is not called lost`() {
        keys.createEpoch(1u)
        val wrapped = keys.wrap(1u, secret)
        FakeKeystore.state = State.LOCKED
        later { keys.wrap(1u, secret) }
        later { keys.unwrap(1u, wrapped) }
        FakeKeystore.state = State.ILL
        later { keys.createEpoch(2u) }
        later { keys.wrap(1u, secret) }
        later { keys.unwrap(1u, wrapped) }
        later { keys.destroyEpoch(1u) }
        later { keys.destroyAll() }
        FakeKeystore.state = State.INVALIDATED
        lost { keys.unwrap(1u, wrapped) }
        FakeKeystore.state = State.WELL
        assertContentEquals(secret, keys.unwrap(1u, wrapped))
    }

    @Test fun `what is forgotten loses its key`() = runBlocking {
        val (first, second) = told()
        val before = FakeKeystore.held.toMap()
        assertEquals(setOf("sapwood.keys.sapwood.1"), before.keys)
        assertEquals(Erasure.SHREDDED, forget(first))
        assertEquals(setOf("sapwood.keys.sapwood.2"), FakeKeystore.held.keys)
        phone.app.learner.close()
        assertEquals(listOf(second), phone.app.learner.get().io { samples() }.map { it.replyId })
    }

    @Test fun `a locked Keystore wipes nothing`() = runBlocking {
        val (first, second) = told()
        FakeKeystore.state = State.LOCKED
        assertEquals(Erasure.PENDING, forget(first))
        phone.app.learner.close()
        assertFailsWith<LearnerException.Busy> { phone.app.learner.get() }
        assertSame(Result.retry(), TrainWorker(phone.app, WorkerParameters()).doWork())
        FakeKeystore.state = State.WELL
        assertEquals(listOf(second), phone.app.learner.get().io { samples() }.map { it.replyId })
        // A slice ends what was asked for.
        phone.app.learner.train(Duration.ZERO)
        assertEquals(setOf("sapwood.keys.sapwood.2"), FakeKeystore.held.keys)
    }

    @Test fun `a key that is lost is said to be lost, and no other takes its place`() = runBlocking {
        told()
        phone.app.learner.close()
        val held = FakeKeystore.held.toMap()
        FakeKeystore.held.clear()
        val error = assertFailsWith<LearnerException.Key> { phone.app.learner.get() }
        assertEquals(true, "move the folder away" in error.toString(), error.toString())
        assertEquals(emptySet(), FakeKeystore.held.keys)
        FakeKeystore.held += held
        assertEquals(2, phone.app.learner.get().io { samples() }.size)
    }

    /** The ids of two replies that are kept. */
    private suspend fun told(): List<String> {
        phone.app.learner.setConsent(true)
        return List(2) { n -> phone.app.learner.get().ask("Triage: parcel $n is late").id }
    }

    private suspend fun forget(reply: String) =
        phone.app.learner.get().io { forget(Scope.Reply(reply)) }.erasure

    private fun lost(call: () -> Unit) = assertFailsWith<KeyProviderException.Permanent>(block = call)

    private fun later(call: () -> Unit) =
        assertFailsWith<KeyProviderException.Unavailable>(block = call)
}
