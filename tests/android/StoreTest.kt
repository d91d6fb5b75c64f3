package sapwood.android

import java.io.File
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

/** Where the store lies and what becomes of it. */
class StoreTest {
    @get:Rule val phone = Phone()
    private val folder get() = File(phone.folder, "sapwood")

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
        assertEquals(folder.path, LearnerStore.config(phone.app).folder)
        assertEquals(1, owner.get().io { samples() }.size)
        owner.erase()
        assertFalse(folder.exists())
        assertTrue(FakeKeystore.held.isEmpty())
        assertEquals(Consent.UNASKED, owner.get().io { consent() })
        assertEquals(0, owner.get().io { samples() }.size)
    }

    @Test fun `nothing is half erased while the Keystore does not answer`() = runBlocking {
        val owner = phone.app.learner
        owner.setConsent(true)
        owner.close()
        FakeKeystore.state = FakeKeystore.State.ILL
        assertFailsWith<LearnerException.Busy> { owner.erase() }
        FakeKeystore.state = FakeKeystore.State.WELL
        assertEquals(Consent.GRANTED, owner.get().io { consent() })
        owner.erase()
        assertEquals(Consent.UNASKED, owner.get().io { consent() })
    }
}
