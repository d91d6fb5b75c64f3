package sapwood.android

import android.app.ActivityManager
import android.app.ApplicationExitInfo
import android.content.Context
import android.os.Build

/**
 * Whether the last process of the app ended for a reason that no adapter can be blamed for. An
 * adapter on probation pays for a process that dies under it, so that one that crashes the app is
 * taken back; this keeps it from paying when the user swiped the app away or the system wanted the
 * memory. Unknown before Android 11.
 */
internal fun lastExitWasBenign(context: Context): Boolean {
    if (Build.VERSION.SDK_INT < 30) return false
    val manager = context.getSystemService(ActivityManager::class.java)
    val last = manager.getHistoricalProcessExitReasons(context.packageName, 0, 1).firstOrNull()
    return last != null && last.reason in BENIGN
}

/** Not among them: crashes, hangs, signals, too much taken of a resource, and what nobody knows. */
private val BENIGN = setOf(
    ApplicationExitInfo.REASON_EXIT_SELF,
    ApplicationExitInfo.REASON_LOW_MEMORY,
    ApplicationExitInfo.REASON_PERMISSION_CHANGE,
    ApplicationExitInfo.REASON_USER_REQUESTED,
    ApplicationExitInfo.REASON_USER_STOPPED,
    ApplicationExitInfo.REASON_DEPENDENCY_DIED,
    ApplicationExitInfo.REASON_FREEZER,
    ApplicationExitInfo.REASON_PACKAGE_STATE_CHANGE,
    ApplicationExitInfo.REASON_PACKAGE_UPDATED,
)
