package sapwood.android

import android.content.Context
import android.os.Build
import android.util.Log
import androidx.work.Constraints
import androidx.work.CoroutineWorker
import androidx.work.ExistingPeriodicWorkPolicy
import androidx.work.PeriodicWorkRequestBuilder
import androidx.work.WorkInfo
import androidx.work.WorkManager
import androidx.work.WorkerParameters
import java.util.concurrent.TimeUnit
import kotlin.time.Duration.Companion.minutes
import kotlinx.coroutines.CancellationException
import sapwood.LearnerException

/**
 * Trains in slices while the device charges and nobody uses it.
 *
 * WorkManager stops it by cancelling its coroutine, when a constraint no longer holds or the system
 * wants its time back. Cancelling requests the slice's `StopToken`; the slice ends within half a
 * second, with all it did on disk, and the next one goes on from there. So every stop reason is
 * handled in the same way, and is only logged.
 */
class TrainWorker(context: Context, parameters: WorkerParameters) :
    CoroutineWorker(context, parameters) {

    override suspend fun doWork(): Result {
        val owner = applicationContext as? LearnerOwner
        if (owner == null) {
            Log.e(TAG, "nothing trains: the Application has to be a LearnerOwner")
            return Result.failure()
        }
        return try {
            val report = owner.learner.train(SLICE)
            Log.i(TAG, report?.summary ?: "nothing trains: the user did not agree")
            Result.success()
        } catch (stopped: CancellationException) {
            val reason = if (Build.VERSION.SDK_INT >= 31) stopReason else WorkInfo.STOP_REASON_UNKNOWN
            Log.i(TAG, "training was stopped: ${nameOf(reason)}")
            throw stopped
        } catch (busy: LearnerException.Busy) {
            Result.retry()
        } catch (error: LearnerException) {
            // Texts of errors never hold what the user wrote.
            Log.w(TAG, "training failed (${error.code()}): $error")
            if (error is LearnerException.Fault) owner.learner.close()
            Result.failure()
        }
    }

    companion object {
        /** The system ends a worker after ten minutes, and it is better to be done before. */
        private val SLICE = 8.minutes
        private const val NAME = "sapwood.train"

        /**
         * Asks the system for time to train. Once is enough, it holds over restarts;
         * [AppLearner.setConsent] does it. There is no foreground service on purpose: its hours are
         * counted and its notice disturbs, while idle time on the charger is neither.
         */
        fun schedule(context: Context) {
            val constraints = Constraints.Builder()
                .setRequiresCharging(true)
                .setRequiresDeviceIdle(true)
                .setRequiresBatteryNotLow(true)
                .setRequiresStorageNotLow(true)
                .build()
            // Work that waits for an idle device must not set its own back-off.
            val request = PeriodicWorkRequestBuilder<TrainWorker>(15, TimeUnit.MINUTES)
                .setConstraints(constraints)
                .build()
            WorkManager.getInstance(context)
                .enqueueUniquePeriodicWork(NAME, ExistingPeriodicWorkPolicy.UPDATE, request)
        }

        /** Takes that back, and stops a slice that is running. */
        fun cancel(context: Context) {
            WorkManager.getInstance(context).cancelUniqueWork(NAME)
        }
    }
}

/** For logs. */
internal fun nameOf(reason: Int): String = when (reason) {
    WorkInfo.STOP_REASON_CANCELLED_BY_APP -> "cancelled by the app"
    WorkInfo.STOP_REASON_PREEMPT -> "something more urgent runs"
    WorkInfo.STOP_REASON_TIMEOUT -> "it ran too long"
    WorkInfo.STOP_REASON_DEVICE_STATE -> "the device is hot or saves power"
    WorkInfo.STOP_REASON_CONSTRAINT_BATTERY_NOT_LOW -> "the battery is low"
    WorkInfo.STOP_REASON_CONSTRAINT_CHARGING -> "the device is not charging"
    WorkInfo.STOP_REASON_CONSTRAINT_DEVICE_IDLE -> "the device is in use"
    WorkInfo.STOP_REASON_CONSTRAINT_STORAGE_NOT_LOW -> "the disk is nearly full"
    WorkInfo.STOP_REASON_QUOTA -> "the app used up its share"
    WorkInfo.STOP_REASON_BACKGROUND_RESTRICTION -> "the user restricted the app in the background"
    WorkInfo.STOP_REASON_APP_STANDBY -> "the app is rarely used"
    WorkInfo.STOP_REASON_USER -> "the user stopped the app"
    WorkInfo.STOP_REASON_SYSTEM_PROCESSING -> "the system needs the time"
    else -> "reason $reason"
}
