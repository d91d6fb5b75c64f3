package sapwood

import java.io.File
import java.time.Instant
import kotlin.math.abs
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertNull
import kotlin.test.assertTrue
import kotlin.time.Duration.Companion.minutes
import kotlin.time.Duration.Companion.seconds
import kotlin.time.measureTime
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.async
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.delay
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import org.junit.Assume.assumeTrue
import org.junit.Rule
import org.junit.Test

/** Chat, signals, training, adapters, and back. */
class LoopTest {
    @get:Rule val given = Given()

    @Test fun `nothing is kept without consent`() = runBlocking {
        val learner = given.learner()
        assertEquals(Consent.UNASKED, learner.consent())
        learner.signal(learner.ask("Triage: it crashes").id, Signal.Accepted)
        assertEquals(emptyList(), learner.samples())
        learner.setConsent(Consent.GRANTED)
        val reply = learner.ask("Triage: it crashes")
        learner.signal(reply.id, Signal.Rated(good = false))
        val sample = learner.io { samples() }.single()
        assertEquals(reply.id to reply.text, sample.replyId to sample.reply)
        assertEquals(listOf<Signal>(Signal.Rated(good = false)), sample.signals)
        assertTrue(abs(sample.time.toEpochMilli() - System.currentTimeMillis()) < 300_000)
    }

    @Test fun `a correction is shown with the next request like it`() = runBlocking {
        val learner = given.learner()
        learner.setConsent(Consent.GRANTED)
        val reply = learner.ask("Triage: parcel 7 has not arrived")
        learner.signal(reply.id, Signal.Edited("logistics"))
        assertTrue(learner.ask("Triage: parcel 8 has not arrived").retrieved > 0u)
    }

    @Test fun `the loop trains when the device rests, to a verdict`() = runBlocking {
        val learner = given.taught()
        learner.deviceChanged(DeviceState(charging = false, idle = true, thermal = Thermal.NOMINAL))
        assertTrue(learner.train(10.minutes).outcome is Outcome.Waiting)
        learner.deviceChanged(resting)
        var report: SliceReport
        do report = learner.train(10.minutes) while (report.outcome is Outcome.Paused)
        assertEquals(listOf<Any>(4u, 4u, 4), listOf(report.step, report.steps, report.losses.size))
        assertTrue(report.outcome is Outcome.Promoted || report.outcome is Outcome.Rejected, report.summary)
        assertTrue(learner.adapters().isNotEmpty())
    }

    @Test fun `cancelling the caller stops training, and the next call goes on`() = runBlocking {
        val learner = given.taught { endless() }
        val job = launch(Dispatchers.Default) { learner.train(10.minutes) }
        delay(1000)
        val stopping = measureTime { job.cancelAndJoin() }
        println("MEASURED: training stopped $stopping after its coroutine was cancelled")
        assertTrue(stopping < 5.seconds)
        val first = learner.train(1.seconds)
        assertTrue(first.outcome is Outcome.Paused, first.summary)
        assertTrue(learner.train(1.seconds).step > first.step)
    }

    @Test fun `replies go on while a slice trains`() = runBlocking {
        val learner = given.taught()
        val training = async { learner.train(10.minutes) }
        val replies = List(5) { learner.ask("Triage: it crashes") }
        assertEquals(5, replies.map { it.id }.toSet().size)
        assertEquals(4u, training.await().step)
    }

    @Test fun `an app may ask less of the device`() = runBlocking {
        val learner = given.learner { idle = IdlePolicy(needCharging = false) }
        learner.deviceChanged(DeviceState(charging = false, idle = false, thermal = Thermal.NOMINAL))
        val holds = (learner.train(1.seconds).outcome as Outcome.Waiting).holds
        assertTrue(Hold.IN_USE in holds && Hold.NOT_CHARGING !in holds, "$holds")
    }

    @Test fun `what is forgotten is gone, with the run that learned from it`() = runBlocking {
        val learner = given.taught { endless() }
        assertTrue(learner.train(2.seconds).outcome is Outcome.Paused)
        val kept = learner.samples()
        val receipt = learner.io { forget(Scope.Reply(kept[0].replyId)) }
        assertEquals(listOf(kept[0].replyId), receipt.replies)
        assertNull(receipt.inForce)
        assertEquals(kept.drop(1), learner.samples())
        assertFailsWith<LearnerException.NotFound> { learner.signal(kept[0].replyId, Signal.Accepted) }
        val second = learner.forget(Scope.Conversation(kept[1].conversation))
        assertEquals(listOf(kept[1].replyId), second.replies)
        assertEquals(emptyList(), learner.forget(Scope.Surface("elsewhere")).replies)
        assertEquals(emptyList(), learner.forget(Scope.Time(Instant.EPOCH, kept[2].time)).replies)
        val rest = learner.forget(Scope.Everything)
        assertEquals(kept.drop(2).map { it.replyId }, rest.replies)
        // By chance the first ones are held out, and the run goes with the rest.
        assertTrue(receipt.runDropped || second.runDropped || rest.runDropped)
        assertEquals(emptyList(), given.learner().samples())
        assertEquals(0u, learner.train(1.seconds).step)
    }

    @Test fun `forgetting ends a slice that is running`() = runBlocking {
        val learner = given.taught { endless() }
        val training = async(Dispatchers.Default) { learner.train(10.minutes) }
        delay(2000)
        val took = measureTime { assertTrue(learner.io { forget(Scope.Everything) }.runDropped) }
        println("MEASURED: forgetting took $took while a slice was running")
        assertTrue(took < 5.seconds)
        assertTrue(training.await().outcome is Outcome.Paused)
    }

    @Test fun `an adapter from elsewhere is staged, used and taken back`() = runBlocking {
        val file = System.getenv("ADAPTER")
        assumeTrue("ADAPTER names no adapter file", file != null)
        val learner = given.learner()
        val adapter = learner.io { stage(File(file!!).readBytes()) }
        learner.io { activate(adapter) }
        assertEquals(adapter, learner.ask("Triage: it crashes").adapter)
        assertEquals(listOf(true), learner.adapters().map { it.inForce })
        assertEquals(adapter, learner.io { rollback() })
        assertNull(learner.ask("Triage: it crashes").adapter)
        assertFailsWith<LearnerException.NotFound> { learner.activate(adapter) }
        Unit
    }
}
