package androidx.work

import android.content.Context
import java.util.concurrent.TimeUnit
import kotlin.reflect.KClass

/* Stand-ins for WorkManager. They keep what they are given, so that tests can look at it. */

abstract class CoroutineWorker(appContext: Context, params: WorkerParameters) :
    ListenableWorker(appContext, params) {
    abstract suspend fun doWork(): Result
}

data class Constraints(
    val charging: Boolean,
    val deviceIdle: Boolean,
    val batteryNotLow: Boolean,
    val storageNotLow: Boolean,
) {
    class Builder {
        private var charging = false
        private var deviceIdle = false
        private var batteryNotLow = false
        private var storageNotLow = false

        fun setRequiresCharging(requiresCharging: Boolean) = apply { charging = requiresCharging }
        fun setRequiresDeviceIdle(requiresDeviceIdle: Boolean) = apply { deviceIdle = requiresDeviceIdle }
        fun setRequiresBatteryNotLow(requiresBatteryNotLow: Boolean) =
            apply { batteryNotLow = requiresBatteryNotLow }
        fun setRequiresStorageNotLow(requiresStorageNotLow: Boolean) =
            apply { storageNotLow = requiresStorageNotLow }
        fun build() = Constraints(charging, deviceIdle, batteryNotLow, storageNotLow)
    }
}

enum class ExistingPeriodicWorkPolicy { KEEP, UPDATE, CANCEL_AND_REENQUEUE }

class PeriodicWorkRequest(val worker: KClass<*>, val minutes: Long, val constraints: Constraints?) {
    class Builder(private val worker: KClass<*>, private val minutes: Long) {
        private var constraints: Constraints? = null

        fun setConstraints(constraints: Constraints) = apply { this.constraints = constraints }
        fun build() = PeriodicWorkRequest(worker, minutes, constraints)
    }
}

inline fun <reified W : ListenableWorker> PeriodicWorkRequestBuilder(
    repeatInterval: Long,
    repeatIntervalTimeUnit: TimeUnit,
) = PeriodicWorkRequest.Builder(W::class, repeatIntervalTimeUnit.toMinutes(repeatInterval))

interface Operation

class WorkManager private constructor() {
    val enqueued = mutableMapOf<String, PeriodicWorkRequest>()

    fun enqueueUniquePeriodicWork(
        uniqueWorkName: String,
        existingPeriodicWorkPolicy: ExistingPeriodicWorkPolicy,
        request: PeriodicWorkRequest,
    ): Operation {
        enqueued[uniqueWorkName] = request
        return object : Operation {}
    }

    fun cancelUniqueWork(uniqueWorkName: String): Operation {
        enqueued -= uniqueWorkName
        return object : Operation {}
    }

    companion object {
        private val instance = WorkManager()

        @JvmStatic
        fun getInstance(context: Context) = instance
    }
}
