package sapwood.android

import java.io.File
import java.util.concurrent.CyclicBarrier
import javax.crypto.KeyGenerator
import kotlin.test.assertContentEquals
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertFalse
import kotlin.test.assertTrue
import kotlin.time.Duration.Companion.seconds
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.async
import kotlinx.coroutines.awaitAll
import kotlinx.coroutines.runBlocking
import org.junit.Rule
import org.junit.Test
import sapwood.Consent
import sapwood.LearnerException
import sapwood.ask
import sapwood.io

/** Where the store lies and what becomes of its key. */
class StoreTest {
    @get:Rule val phone = Phone()
    private val file get() = File(phone.folder, "sapwood.key")

    @Test fun `the key is random, stays, and is never written as it is`() {
        val first = LearnerStore.config(phone.app)
        assertContentEquals(first.key, LearnerStore.config(phone.app).key)
        assertEquals(File(phone.folder, "sapwood").path, first.folder)
        assertEquals(32, first.key.size)
        assertTrue(first.key.toSet().size > 10)
        assertFalse(String(first.key, Charsets.ISO_8859_1) in file.readText(Charsets.ISO_8859_1))
    }

    @Test fun `threads that come at once get one key`() = runBlocking {
        repeat(20) {
            LearnerStore.erase(phone.app)
            val start = CyclicBarrier(8)
            val keys = List(8) {
                async(Dispatchers.IO) {
                    start.await()
                    LearnerStore.config(phone.app).key.toList()
                }
            }
            assertEquals(1, keys.awaitAll().toSet().size)
        }
    }

    @Test fun `a write that was cut off does no harm`() {
        File(phone.folder, "sapwood.key.new").writeText("half")
        val key = LearnerStore.config(phone.app).key
        assertContentEquals(key, LearnerStore.config(phone.app).key)
    }

    @Test fun `a key that is lost is said to be lost, and no other takes its place`() {
        LearnerStore.config(phone.app)
        val sealed = file.readBytes()
        val wrap = FakeKeystore.held.toMap()
        FakeKeystore.held.clear()
        assertFailsWith<LearnerException.Key> { LearnerStore.config(phone.app) }
        assertTrue(FakeKeystore.held.isEmpty())
        KeyGenerator.getInstance("AES", "AndroidKeyStore").generateKey()
        assertFailsWith<LearnerException.Key> { LearnerStore.config(phone.app) }
        FakeKeystore.held += wrap
        file.writeBytes(sealed.dropLast(1).toByteArray())
        assertFailsWith<LearnerException.Key> { LearnerStore.config(phone.app) }
        for (at in sealed.indices) {
            file.writeBytes(sealed.clone().also { it[at] = (it[at] + 1).toByte() })
            assertFailsWith<LearnerException.Key> { LearnerStore.config(phone.app) }
        }
        file.writeBytes(sealed)
        LearnerStore.config(phone.app)
    }

    @Test fun `what may pass is not called lost`() {
        FakeKeystore.ill = true
        assertFailsWith<LearnerException.Busy> { LearnerStore.config(phone.app) }
        FakeKeystore.ill = false
        val key = LearnerStore.config(phone.app).key
        FakeKeystore.ill = true
        assertFailsWith<LearnerException.Busy> { LearnerStore.config(phone.app) }
        FakeKeystore.ill = false
        val kept = File(phone.folder, "kept").also { file.renameTo(it) }
        file.mkdir()
        assertFailsWith<LearnerException.Storage> { LearnerStore.config(phone.app) }
        file.delete()
        kept.renameTo(file)
        assertContentEquals(key, LearnerStore.config(phone.app).key)
    }

    @Test fun `erasing ends a slice that is running`() = runBlocking {
        val owner = phone.app.learner
        owner.setConsent(true)
        owner.get().ask("Triage: it crashes")
        val slices = List(3) { async(Dispatchers.Default) { runCatching { owner.train(30.seconds) } } }
        owner.erase()
        slices.awaitAll()
        assertEquals(emptyList(), owner.get().io { samples() })
    }

    @Test fun `what was kept is there at the next opening, and gone when it is erased`() = runBlocking {
        val owner = phone.app.learner
        owner.setConsent(true)
        owner.get().ask("Triage: it crashes")
        phone.hide()
        owner.close()
        assertEquals(1, owner.get().io { samples() }.size)
        val key = LearnerStore.config(phone.app).key
        owner.erase()
        assertFalse(file.exists() || File(phone.folder, "sapwood").exists())
        assertTrue(FakeKeystore.held.isEmpty())
        assertEquals(Consent.UNASKED, owner.get().io { consent() })
        assertEquals(0, owner.get().io { samples() }.size)
        assertFalse(key.contentEquals(LearnerStore.config(phone.app).key))
    }
}
