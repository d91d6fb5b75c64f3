package sapwood.android

import android.content.ComponentCallbacks2
import android.content.Context
import android.content.res.Configuration
import android.util.Log
import kotlin.time.Duration
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.NonCancellable
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.launch
import kotlinx.coroutines.sync.Mutex
import kotlinx.coroutines.sync.withLock
import kotlinx.coroutines.withContext
import sapwood.Config
import sapwood.Consent
import sapwood.Learner
import sapwood.LearnerException
import sapwood.Scope
import sapwood.SliceReport
import sapwood.io
import sapwood.openLearner
import sapwood.train

/** An `Application` that has a learner. WorkManager may start the process only to train, without a
 *  screen, so the application is where [TrainWorker] looks for it. */
interface LearnerOwner {
    val learner: AppLearner
}

/**
 * The learner of an app: opened when it is first wanted, in a folder and under a key that belong to
 * this app on this device ([LearnerStore]), and kept as long as the process lives. From then on it
 * is told how the device is, and it is flushed when the app goes to the background.
 *
 * [configure] changes the settings that it is opened with: `{ it.copy(model = path) }`.
 */
class AppLearner(
    private val context: Context,
    private val configure: (Config) -> Config = { it },
) {
    private class Opened(val learner: Learner, val monitor: DeviceMonitor, val onHidden: OnHidden)

    private val turn = Mutex()
    private var opened: Opened? = null

    /** The learner, opened if it has to be. */
    suspend fun get(): Learner = turn.withLock { present().learner }

    /**
     * Says whether the user agreed to learning. Only with their consent is anything kept, and only
     * with it does the app ask the system for time to train. Consent that is taken back deletes
     * nothing: that is `forget`.
     */
    suspend fun setConsent(granted: Boolean) {
        get().io { setConsent(if (granted) Consent.GRANTED else Consent.REFUSED) }
        if (granted) TrainWorker.schedule(context) else TrainWorker.cancel(context)
    }

    /** Trains for at most [budget], if the user agreed; null if they did not. */
    suspend fun train(budget: Duration): SliceReport? {
        val opened = turn.withLock { present() }
        if (opened.learner.io { consent() } != Consent.GRANTED) return null
        // Free memory changes without a broadcast.
        opened.monitor.push()
        return opened.learner.train(budget)
    }

    /** After [LearnerException.Fault]: lets the learner go. The next [get] opens it anew, from what
     *  is on disk. Its chats go with it. */
    suspend fun close() = turn.withLock { letGo() }

    /** Destroys everything that was kept, with its key: nobody can read it again, not even from the
     *  flash memory. Works with a store that can't be opened any more, too. */
    suspend fun erase() = turn.withLock {
        TrainWorker.cancel(context)
        try {
            // Ends a slice that is running, which would write into the folder still.
            opened?.learner?.io {
                setConsent(Consent.REFUSED)
                forget(Scope.Everything)
            }
        } catch (error: LearnerException) {
            Log.w(TAG, "erased without being asked (${error.code()}): $error")
        }
        letGo()
        withContext(Dispatchers.IO) { LearnerStore.erase(context) }
    }

    private suspend fun present(): Opened = opened ?: open()

    private suspend fun open(): Opened {
        val app = context.applicationContext
        val config = withContext(Dispatchers.IO) { configure(LearnerStore.config(app)) }
        val learner = openLearner(config)
        // Not to be left half-way, nor to be lost on the way out: nobody else could close it.
        return withContext(NonCancellable + Dispatchers.IO) {
            try {
                if (lastExitWasBenign(app)) learner.exitWasBenign()
                val onHidden = OnHidden(learner).also { app.registerComponentCallbacks(it) }
                Opened(learner, DeviceMonitor(app, learner), onHidden).also { opened = it }
            } catch (error: LearnerException) {
                learner.close()
                throw error
            }
        }
    }

    private suspend fun letGo() {
        val gone = opened ?: return
        opened = null
        withContext(NonCancellable + Dispatchers.IO) {
            context.applicationContext.unregisterComponentCallbacks(gone.onHidden)
            gone.monitor.close()
            gone.learner.close()
        }
    }
}

/** Makes everything durable when the app's last screen is gone: what comes then may be a kill. */
private class OnHidden(private val learner: Learner) : ComponentCallbacks2 {
    private val disk = CoroutineScope(SupervisorJob() + Dispatchers.IO)

    override fun onTrimMemory(level: Int) {
        if (level < ComponentCallbacks2.TRIM_MEMORY_UI_HIDDEN) return
        disk.launch {
            try {
                learner.flush()
            } catch (error: LearnerException) {
                Log.w(TAG, "not flushed (${error.code()}): $error")
            } catch (closed: IllegalStateException) {
                // Let go in the meantime, and flushed by that.
            }
        }
    }

    override fun onConfigurationChanged(newConfig: Configuration) = Unit

    @Deprecated("Never called where onTrimMemory is.")
    override fun onLowMemory() = Unit
}

internal const val TAG = "sapwood"
