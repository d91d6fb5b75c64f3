package sapwood

import java.security.GeneralSecurityException
import java.security.SecureRandom
import java.time.Duration
import javax.crypto.Cipher
import javax.crypto.spec.GCMParameterSpec
import javax.crypto.spec.SecretKeySpec
import kotlin.reflect.KClass
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertFalse
import kotlin.test.assertTrue
import kotlinx.coroutines.runBlocking
import org.junit.Rule
import org.junit.Test

/** What opens a store: a key store of the app's, which forgets for good, or a passphrase. */
class KeyTest {
    @get:Rule val given = Given()
    private val keys = KeyStore()

    @Test fun `what is forgotten loses its key`() = runBlocking {
        val (learner, replies) = told()
        assertEquals(setOf(1uL), keys.held.keys)
        assertEquals(Erasure.SHREDDED, learner.io { forget(Scope.Reply(replies[0])) }.erasure)
        assertEquals(setOf(2uL), keys.held.keys)
        learner.close()
        assertEquals(replies.drop(1), learner().samples().map { it.replyId })
    }

    @Test fun `a key store that is locked costs nothing`() = runBlocking {
        val (learner, replies) = told()
        keys.refusal = KeyProviderException.Unavailable()
        assertEquals(Erasure.PENDING, learner.io { forget(Scope.Reply(replies[0])) }.erasure)
        learner.close()
        fails(LearnerException.Busy::class, "try again when the device is unlocked")
        keys.refusal = null
        val again = learner()
        assertEquals(replies.drop(1), again.samples().map { it.replyId })
        again.trainSlice(Duration.ZERO)
        assertEquals(setOf(2uL), keys.held.keys, "the slice ended what was asked for")
    }

    @Test fun `what a key provider throws is told with what to do`() = runBlocking {
        told().first.close()
        keys.refusal = KeyProviderException.Permanent()
        fails(LearnerException.Key::class, "move the folder away")
        keys.refusal = KeyProviderException.Denied()
        fails(LearnerException.Busy::class, "ask the user")
        keys.refusal = IllegalStateException("told nobody")
        fails(LearnerException.Invalid::class, "correct it")
        keys.refusal = null
        assertEquals(2, learner().samples().size)
    }

    @Test fun `a passphrase opens what it sealed`() {
        fun with(typed: String) = given.learner { key = null; passphrase = typed }
        with("heartwood").use { it.setConsent(Consent.GRANTED) }
        assertFailsWith<LearnerException.Key> { with("heartwoof") }
        assertEquals(Consent.GRANTED, with("heartwood").consent())
        assertFailsWith<LearnerException.Invalid> { given.learner { passphrase = "heartwood" } }
    }

    private fun learner() = given.learner { key = null; keyProvider = keys }

    /** A learner, and the ids of two replies that it keeps. */
    private suspend fun told(): Pair<Learner, List<String>> {
        val learner = learner()
        learner.setConsent(Consent.GRANTED)
        return learner to List(2) { n -> learner.ask("Triage: parcel $n is late").id }
    }

    private fun fails(kind: KClass<out LearnerException>, advice: String) {
        val error = assertFailsWith(kind) { learner() }
        assertTrue(advice in error.toString(), "$error")
        assertFalse("told nobody" in error.toString(), "$error")
    }
}

/** Keys in memory: what it destroys is gone. */
private class KeyStore : KeyProvider {
    val held = mutableMapOf<ULong, SecretKeySpec>()
    var refusal: Exception? = null

    override fun createEpoch(epoch: ULong) {
        refuse()
        held[epoch] = SecretKeySpec(ByteArray(32).also { SecureRandom().nextBytes(it) }, "AES")
    }

    override fun wrap(epoch: ULong, secret: ByteArray): ByteArray {
        refuse()
        val cipher = Cipher.getInstance("AES/GCM/NoPadding")
        cipher.init(Cipher.ENCRYPT_MODE, held[epoch])
        return cipher.iv + cipher.doFinal(secret)
    }

    override fun unwrap(epoch: ULong, wrapped: ByteArray): ByteArray {
        refuse()
        val key = held[epoch] ?: throw KeyProviderException.Permanent()
        val cipher = Cipher.getInstance("AES/GCM/NoPadding")
        cipher.init(Cipher.DECRYPT_MODE, key, GCMParameterSpec(128, wrapped, 0, 12))
        return try {
            cipher.doFinal(wrapped, 12, wrapped.size - 12)
        } catch (error: GeneralSecurityException) {
            throw KeyProviderException.Permanent()
        }
    }

    override fun destroyEpoch(epoch: ULong) {
        refuse()
        held -= epoch
    }

    private fun refuse() = refusal?.let { throw it }
}
