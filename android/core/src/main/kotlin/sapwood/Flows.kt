package sapwood

import kotlin.time.Duration
import kotlin.time.toJavaDuration
import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.NonCancellable
import kotlinx.coroutines.awaitCancellation
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.flow
import kotlinx.coroutines.launch
import kotlinx.coroutines.withContext

/*
 * What the generated interface lacks in Kotlin: streams, suspension and cancellation. Everything
 * else is used as it is generated; a call that may touch the disk goes through `io`.
 */

/** Opens a learner without blocking the caller. */
suspend fun openLearner(config: Config): Learner = opening { Learner.open(config) }

/**
 * Does [work] with the learner where blocking is allowed: `learner.io { samples() }`.
 *
 * The work itself can't be interrupted: a caller that is cancelled leaves when it is done.
 */
suspend fun <T> Learner.io(work: Learner.() -> T): T = withContext(Dispatchers.IO) { work() }

/** Opens a folder for recording alone, without blocking the caller. */
suspend fun openCapture(config: Config): Capture = opening { Capture.open(config) }

/** As [Learner.io], for recording without a model. */
suspend fun <T> Capture.io(work: Capture.() -> T): T = withContext(Dispatchers.IO) { work() }

/**
 * The reply to [text] as it comes: text events, then one done event with the whole reply.
 *
 * The reply begins when the flow is collected, anew each time. Cancelling the collector, or
 * leaving it early, cancels the reply; the chat is free again when the collector has ended.
 */
fun Chat.stream(text: String, sampling: Sampling? = null): Flow<Event> =
    events { respond(text, sampling) }

/** Another reply in place of the last one, as [stream]. */
fun Chat.streamAgain(sampling: Sampling? = null): Flow<Event> = events { regenerate(sampling) }

/**
 * Trains for at most [budget] and says what came of it. The caller's cancellation stops it within
 * half a second; what was trained until then is kept, and the next call goes on from there.
 */
suspend fun Learner.train(budget: Duration): SliceReport = StopToken().use { stop ->
    stoppable(stop::request) { trainSlice(budget.toJavaDuration(), stop) }
}

private suspend fun <T : AutoCloseable> opening(open: () -> T): T {
    var opened: T? = null
    try {
        withContext(Dispatchers.IO) { opened = open() }
    } catch (cancelled: CancellationException) {
        // Nobody is left who could close it.
        opened?.close()
        throw cancelled
    }
    return checkNotNull(opened)
}

private fun events(begin: () -> Generation): Flow<Event> = flow {
    var begun: Generation? = null
    try {
        withContext(Dispatchers.IO) { begun = begin() }
        val generation = checkNotNull(begun)
        do {
            val event = stoppable(generation::cancel) { generation.next() } ?: break
            emit(event)
        } while (event is Event.Text)
    } finally {
        // Assigned even if the caller was cancelled while the reply began. Closing cancels it.
        withContext(NonCancellable + Dispatchers.IO) { begun?.close() }
    }
}

/**
 * Does [work], which blocks, and calls [stop] in the moment in which the caller is cancelled. Ends
 * when the work has ended. [stop] may also be called when the work is done, and does nothing then.
 */
private suspend fun <T> stoppable(stop: () -> Unit, work: () -> T): T = coroutineScope {
    var working = true
    val watch = launch(Dispatchers.Unconfined) {
        try {
            awaitCancellation()
        } finally {
            if (working) stop()
        }
    }
    try {
        withContext(Dispatchers.IO) { work() }
    } finally {
        working = false
        watch.cancel()
    }
}
