package sapwood

import java.io.File
import kotlin.test.assertTrue
import kotlinx.coroutines.runBlocking
import org.junit.Rule
import org.junit.Test

/** Memory over ten thousand replies. Give the JVM a fixed heap, so that only leaks can show. */
class LeakTest {
    @get:Rule val given = Given()

    @Test fun `ten thousand replies take no more memory than four thousand`() = runBlocking {
        // One thread: what leaks does not depend on it, and waiting for others on a busy machine
        // would take most of the time.
        val learner = given.learner { contextTokens = 128u; threads = 1u }
        val sampling = Sampling(temperature = 0f, maxTokens = 1u, record = false)
        suspend fun after(replies: Int): Long {
            repeat(replies) { learner.ask("Hi", sampling) }
            repeat(3) { System.gc(); Thread.sleep(50) }
            return residentKib()
        }
        var before = after(4_000)
        val grown = List(3) { after(2_000).let { now -> (now - before).also { before = now } } }
        println("MEASURED: $grown KiB more after 2,000 replies each, behind 4,000; now $before KiB")
        // A leak of one KiB per reply shows in each. The JVM takes and gives back what it likes.
        assertTrue(grown.min() < 1_500, "$grown KiB more")
    }

    private fun residentKib(): Long = File("/proc/self/status").readLines()
        .first { it.startsWith("VmRSS:") }.filter(Char::isDigit).toLong()
}
