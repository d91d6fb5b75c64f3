package sapwood.android

import android.app.Application
import android.content.Context
import androidx.work.Constraints
import androidx.work.ListenableWorker.Result
import androidx.work.WorkManager
import androidx.work.WorkerParameters
import kotlin.test.assertEquals
import kotlin.test.assertNull
import kotlin.test.assertSame
import kotlin.test.assertTrue
import kotlin.time.Duration.Companion.seconds
import kotlin.time.measureTime
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.delay
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import org.junit.Rule
import org.junit.Test
import sapwood.Outcome
import sapwood.Signal
import sapwood.ask

/** Training as WorkManager asks for it. */
class WorkerTest {
    /** Long runs, so that a slice is always in the middle of one. */
    @get:Rule val phone = Phone {
        retrieval = false
        training!!.steps = 100_000u
        training!!.passes = UInt.MAX_VALUE
    }
    private val work get() = WorkManager.getInstance(phone.app).enqueued
    private val worker get() = TrainWorker(phone.app, WorkerParameters())

    @Test fun `consent asks for idle time on the charger, and its end takes that back`() = runBlocking {
        phone.app.learner.setConsent(true)
        val request = work.values.single()
        assertEquals(TrainWorker::class, request.worker)
        val all = Constraints(
            charging = true, deviceIdle = true, batteryNotLow = true, storageNotLow = true,
        )
        assertEquals(all, request.constraints)
        phone.app.learner.setConsent(false)
        assertTrue(work.isEmpty())
    }

    @Test fun `nothing trains without consent`() = runBlocking {
        assertNull(phone.app.learner.train(1.seconds))
        assertSame(Result.success(), worker.doWork())
    }

    @Test fun `an application without a learner is told so`() = runBlocking {
        val other = object : Application() {
            override fun getApplicationContext(): Context = this
        }
        assertSame(Result.failure(), TrainWorker(other, WorkerParameters()).doWork())
    }

    @Test fun `a worker that is stopped leaves at once and loses nothing`() = runBlocking {
        teach()
        val first = checkNotNull(phone.app.learner.train(2.seconds))
        assertTrue(first.outcome is Outcome.Paused && first.step > 0u, first.summary)
        val job = launch(Dispatchers.Default) { worker.doWork() }
        delay(2000)
        val stopping = measureTime { job.cancelAndJoin() }
        println("MEASURED: training stopped $stopping after its worker was")
        assertTrue(stopping < 5.seconds)
        val next = checkNotNull(phone.app.learner.train(2.seconds))
        assertTrue(next.step > first.step, "${first.summary}, then ${next.summary}")
    }

    @Test fun `a cable that is pulled ends the slice`() = runBlocking {
        teach()
        var result: Result? = null
        val job = launch(Dispatchers.Default) { result = worker.doWork() }
        delay(1000)
        assertTrue(job.isActive, "it trains")
        phone.unplug()
        val ending = measureTime { job.join() }
        assertTrue(ending < 5.seconds, "$ending")
        assertSame(Result.success(), result)
    }

    @Test fun `a bug of the library is survived`() = runBlocking {
        phone.app.learner.setConsent(true)
        runCatching { phone.app.learner.get().panicInside() }
        assertSame(Result.failure(), worker.doWork())
        assertSame(Result.success(), worker.doWork())
    }

    private suspend fun teach() {
        val owner = phone.app.learner
        owner.setConsent(true)
        repeat(12) { n ->
            val reply = owner.get().ask("Triage: parcel number $n has not arrived")
            owner.get().signal(reply.id, Signal.Edited("logistics"))
        }
    }
}
