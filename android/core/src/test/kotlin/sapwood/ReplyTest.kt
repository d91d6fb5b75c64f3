package sapwood

import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertNull
import kotlin.test.assertTrue
import kotlin.time.Duration.Companion.seconds
import kotlin.time.measureTime
import kotlinx.coroutines.CoroutineStart
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.channels.Channel
import kotlinx.coroutines.delay
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.flow.onEach
import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.isActive
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import org.junit.Rule
import org.junit.Test

/** Replies as flows: streaming and every way of leaving one. */
class ReplyTest {
    @get:Rule val given = Given()

    @Test fun `a reply streams and names what made it`() = runBlocking {
        val reply = given.learner().ask("Triage: I want my money back")
        assertEquals("returns", reply.text)
        assertEquals(StopReason.END, reply.stop)
        assertNull(reply.adapter)
        assertEquals(32, reply.id.length)
    }

    @Test fun `a flow makes a new reply each time it is collected`() = runBlocking {
        val flow = given.learner().chat("triage").stream("Triage: it crashes", greedy)
        val ids = List(2) { (flow.toList().last() as Event.Done).reply.id }
        assertEquals(2, ids.toSet().size)
    }

    @Test fun `another reply takes the place of the last one`() = runBlocking {
        val chat = given.learner().chat("triage")
        val first = (chat.stream("Triage: it crashes", greedy).toList().last() as Event.Done).reply
        val again = (chat.streamAgain(greedy).toList().last() as Event.Done).reply
        assertEquals(first.text, again.text)
        assertTrue(first.id != again.id)
    }

    @Test fun `the collector's thread stays free while a reply is made`() = runBlocking {
        // All of this runs on one thread: ticks between two events show that it was not blocked.
        val chat = given.learner().chat("mail")
        var ticks = 0
        val ticking = launch { while (isActive) { ticks++; delay(1) } }
        var between = 0
        var last = 0
        chat.stream("Reply (friendly): tell me everything", rambling(1)).collect {
            if (ticks > last) between++
            last = ticks
        }
        ticking.cancelAndJoin()
        assertTrue(between > 0, "$ticks ticks, none between two events")
    }

    @Test fun `cancelling the collector cancels the reply`() = runBlocking {
        val chat = given.learner().chat("mail")
        var cut = 0
        for (seed in 1..5) {
            val seen = Channel<Event>(Channel.UNLIMITED)
            val job = launch(Dispatchers.Default) {
                chat.stream("Reply (friendly): tell me everything", rambling(seed))
                    .onEach { seen.send(it) }
                    .collect {}
            }
            seen.receive()
            assertTrue(measureTime { job.cancelAndJoin() } < 2.seconds)
            if (generateSequence { seen.tryReceive().getOrNull() }.none { it is Event.Done }) cut++
            // Not busy: the reply is really over.
            chat.stream("Triage: it crashes", greedy).toList()
        }
        assertTrue(cut > 0, "every reply was over before it could be cancelled")
    }

    @Test fun `leaving the flow early cancels the reply`() = runBlocking {
        val chat = given.learner().chat("mail")
        repeat(5) { chat.stream("Reply (friendly): tell me everything", rambling(it)).first() }
        assertTrue(chat.stream("Triage: it crashes", greedy).toList().last() is Event.Done)
    }

    @Test fun `cancelling at any moment leaves the chat free`() = runBlocking {
        val chat = given.learner().chat("mail")
        repeat(30) { n ->
            val job = launch(Dispatchers.Default, CoroutineStart.UNDISPATCHED) {
                chat.stream("Reply (friendly): tell me everything", rambling(n)).collect {}
            }
            if (n % 3 > 0) delay(n.toLong())
            job.cancelAndJoin()
            chat.stream("Triage: it crashes", greedy).first()
        }
    }

    @Test fun `the handle cancels and keeps what was said`() {
        val chat = given.learner().chat("mail")
        val generation = chat.respond("Reply (friendly): tell me everything", rambling(3))
        val events = mutableListOf<Event>()
        generateSequence { generation.next() }.forEach {
            events += it
            generation.cancel()
        }
        val reply = (events.last() as Event.Done).reply
        assertEquals(generation.replyId(), reply.id)
        if (reply.stop == StopReason.CANCELLED) assertTrue(reply.tokens < 400u)
        assertNull(generation.next())
    }

    @Test fun `one chat makes one reply at a time`() {
        val chat = given.learner().chat("mail")
        chat.respond("Reply (friendly): tell me everything", rambling(4)).use {
            val busy = assertFailsWith<LearnerException.Busy> { chat.respond("Triage: now", greedy) }
            assertEquals(4u, busy.code())
        }
        chat.respond("Triage: now", greedy).close()
    }
}
