package sapwood.android

import android.app.ActivityManager
import android.content.BroadcastReceiver
import android.content.Context
import android.content.Intent
import android.content.IntentFilter
import android.os.BatteryManager
import android.os.Build
import android.os.PowerManager
import sapwood.DeviceState
import sapwood.Learner
import sapwood.LearnerException
import sapwood.Thermal

/**
 * Tells a learner how the device is, at every change of power, screen, battery saver and heat. What
 * is unknown counts as unfit for training. Only reports: what follows from it is decided in the
 * core, the same on every platform.
 */
class DeviceMonitor(private val context: Context, private val learner: Learner) : AutoCloseable {
    private val power = context.getSystemService(PowerManager::class.java)
    private val memory = context.getSystemService(ActivityManager::class.java)
    private var battery: Intent? = null
    private var closed = false

    private val receiver = object : BroadcastReceiver() {
        override fun onReceive(context: Context, intent: Intent) {
            if (intent.action == Intent.ACTION_BATTERY_CHANGED) battery = intent
            push()
        }
    }
    private val thermal = if (Build.VERSION.SDK_INT >= 29) {
        PowerManager.OnThermalStatusChangedListener { push() }
    } else {
        null
    }

    init {
        // The state of the battery is sticky: what it was last is returned at once.
        val changes = IntentFilter().apply { CHANGES.forEach { addAction(it) } }
        battery = context.registerReceiver(receiver, changes)
        if (Build.VERSION.SDK_INT >= 29) thermal?.let { power.addThermalStatusListener(it) }
        push()
    }

    /** Tells how the device is now. */
    @Synchronized
    fun push() {
        if (closed) return
        try {
            learner.deviceChanged(state())
        } catch (error: LearnerException) {
            // The learner is done for. Whoever talks to it is told; the system, which calls here,
            // would end the app.
        }
    }

    /** Stops telling. Before the learner is closed. */
    @Synchronized
    override fun close() {
        if (closed) return
        closed = true
        context.unregisterReceiver(receiver)
        if (Build.VERSION.SDK_INT >= 29) thermal?.let { power.removeThermalStatusListener(it) }
    }

    private fun state(): DeviceState {
        val free = ActivityManager.MemoryInfo().also { memory.getMemoryInfo(it) }
        val status = if (Build.VERSION.SDK_INT >= 29) power.currentThermalStatus else null
        return DeviceState(
            charging = (battery?.getIntExtra(BatteryManager.EXTRA_PLUGGED, 0) ?: 0) != 0,
            idle = !power.isInteractive,
            lowPowerMode = power.isPowerSaveMode,
            thermal = status?.let(::thermal)
                ?: thermalOfBattery(battery?.getIntExtra(BatteryManager.EXTRA_TEMPERATURE, UNKNOWN)),
            batteryPercent = percent(battery)?.toUByte(),
            // Below the threshold the system kills what nobody looks at.
            freeMemoryBytes = maxOf(0, free.availMem - free.threshold).toULong(),
        )
    }
}

/** What is listened to. All of it is the system's and nobody else can send it, so the receiver needs
 *  no flag. */
internal val CHANGES = listOf(
    Intent.ACTION_BATTERY_CHANGED,
    Intent.ACTION_SCREEN_ON,
    Intent.ACTION_SCREEN_OFF,
    PowerManager.ACTION_POWER_SAVE_MODE_CHANGED,
)

/** The system's word for heat, one step more careful than it sounds: moderate throttling is already
 *  more than work that nobody waits for should cause. */
internal fun thermal(status: Int): Thermal = when (status) {
    PowerManager.THERMAL_STATUS_NONE -> Thermal.NOMINAL
    PowerManager.THERMAL_STATUS_LIGHT -> Thermal.FAIR
    PowerManager.THERMAL_STATUS_MODERATE -> Thermal.SERIOUS
    else -> Thermal.CRITICAL
}

/**
 * Before Android 10 the system says nothing of heat, but the battery does, in tenths of a degree
 * Celsius. The steps are ours: charging alone brings a cool phone to some 35 degrees, and above 45
 * lithium cells should not be charged.
 */
internal fun thermalOfBattery(tenths: Int?): Thermal = when {
    tenths == null || tenths == UNKNOWN -> Thermal.SERIOUS
    tenths < 360 -> Thermal.NOMINAL
    tenths < 400 -> Thermal.FAIR
    tenths < 450 -> Thermal.SERIOUS
    else -> Thermal.CRITICAL
}

private fun percent(battery: Intent?): Int? {
    val level = battery?.getIntExtra(BatteryManager.EXTRA_LEVEL, UNKNOWN) ?: return null
    val scale = battery.getIntExtra(BatteryManager.EXTRA_SCALE, UNKNOWN)
    return if (level < 0 || scale <= 0) null else (100 * level / scale).coerceIn(0, 100)
}

private const val UNKNOWN = Int.MIN_VALUE
