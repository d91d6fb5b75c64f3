package sapwood.android

import android.app.ApplicationExitInfo
import android.content.Intent
import android.os.Build
import android.os.PowerManager
import kotlin.test.assertEquals
import kotlin.test.assertFalse
import kotlin.test.assertTrue
import kotlinx.coroutines.runBlocking
import org.junit.Rule
import org.junit.Test
import sapwood.Hold
import sapwood.Learner
import sapwood.Outcome
import sapwood.Thermal

/** What the library tells the core of the device, seen by what the core then has against training. */
class MonitorTest {
    @get:Rule val phone = Phone()

    @Test fun `every change of the device is told`() = runBlocking {
        val learner = phone.app.learner.get()
        assertEquals(emptySet(), holds(learner))
        phone.unplug()
        assertEquals(setOf(Hold.NOT_CHARGING), holds(learner))
        phone.change(Intent.ACTION_BATTERY_CHANGED) { battery = Battery(level = 10) }
        assertEquals(setOf(Hold.LOW_BATTERY), holds(learner))
        phone.change(Intent.ACTION_BATTERY_CHANGED) { battery = Battery() }
        phone.change(Intent.ACTION_SCREEN_ON) { screen = true }
        assertEquals(setOf(Hold.IN_USE), holds(learner))
        phone.change(PowerManager.ACTION_POWER_SAVE_MODE_CHANGED) { saving = true }
        assertEquals(setOf(Hold.IN_USE, Hold.LOW_POWER_MODE), holds(learner))
        phone.change(Intent.ACTION_SCREEN_OFF) { screen = false; saving = false }
        assertEquals(emptySet(), holds(learner))
        phone.power.status = PowerManager.THERMAL_STATUS_LIGHT
        assertEquals(emptySet(), holds(learner), "warm is slow, not over")
        phone.power.status = PowerManager.THERMAL_STATUS_MODERATE
        assertEquals(setOf(Hold.TOO_HOT), holds(learner))
    }

    @Test fun `memory is what is left above the system's threshold`() = runBlocking {
        val learner = phone.app.learner.get()
        phone.memory.free = 99L shl 20
        phone.change { }
        assertEquals(setOf(Hold.TOO_LITTLE_MEMORY), holds(learner))
    }

    @Test fun `heat has four steps`() {
        val steps = listOf(
            PowerManager.THERMAL_STATUS_NONE to Thermal.NOMINAL,
            PowerManager.THERMAL_STATUS_LIGHT to Thermal.FAIR,
            PowerManager.THERMAL_STATUS_MODERATE to Thermal.SERIOUS,
            PowerManager.THERMAL_STATUS_SEVERE to Thermal.CRITICAL,
            PowerManager.THERMAL_STATUS_SHUTDOWN to Thermal.CRITICAL,
        )
        for ((status, expected) in steps) assertEquals(expected, thermal(status))
        val degrees = listOf(359, 360, 399, 400, 449, 450).map { thermalOfBattery(it) }
        assertEquals(
            listOf(
                Thermal.NOMINAL, Thermal.FAIR, Thermal.FAIR,
                Thermal.SERIOUS, Thermal.SERIOUS, Thermal.CRITICAL,
            ),
            degrees,
        )
        assertEquals(Thermal.SERIOUS, thermalOfBattery(null))
    }

    /** The fake refuses the calls that Android 9 does not have. */
    @Test fun `before Android 10 the battery tells of heat`() = runBlocking {
        Build.VERSION.SDK_INT = 28
        val learner = phone.app.learner.get()
        assertEquals(emptySet(), holds(learner))
        phone.change(Intent.ACTION_BATTERY_CHANGED) { battery = Battery(temperature = 410) }
        assertEquals(setOf(Hold.TOO_HOT), holds(learner))
    }

    @Test fun `nothing is told once it is closed`() = runBlocking {
        val learner = phone.app.learner.get()
        val (receiver, listener) = phone.receivers.single() to phone.power.listeners.single()
        phone.app.learner.close()
        assertTrue(phone.receivers.isEmpty() && phone.power.listeners.isEmpty())
        assertTrue(phone.callbacks.isEmpty())
        // Already on their way when it was closed.
        receiver.onReceive(phone.app, Said(Intent.ACTION_SCREEN_ON))
        listener.onThermalStatusChanged(PowerManager.THERMAL_STATUS_SEVERE)
    }

    /** The system calls here, and an exception would end the app. */
    @Test fun `a learner that is done for does not take the app along`() = runBlocking {
        val learner = phone.app.learner.get()
        runCatching { learner.panicInside() }
        phone.unplug()
    }

    @Test fun `only what no adapter can be blamed for is benign`() {
        assertFalse(lastExitWasBenign(phone.app))
        phone.memory.exits = listOf(ApplicationExitInfo.REASON_USER_REQUESTED)
        assertTrue(lastExitWasBenign(phone.app))
        phone.memory.exits =
            listOf(ApplicationExitInfo.REASON_CRASH_NATIVE, ApplicationExitInfo.REASON_USER_REQUESTED)
        assertFalse(lastExitWasBenign(phone.app))
        phone.memory.exits = listOf(ApplicationExitInfo.REASON_LOW_MEMORY)
        Build.VERSION.SDK_INT = 29
        assertFalse(lastExitWasBenign(phone.app))
    }

    private fun holds(learner: Learner): Set<Hold> {
        val waiting = learner.trainSlice(java.time.Duration.ofSeconds(1)).outcome as Outcome.Waiting
        return waiting.holds.toSet() - setOf(Hold.NO_NEED, Hold.FEW_EXAMPLES, Hold.FEW_CONVERSATIONS)
    }
}
