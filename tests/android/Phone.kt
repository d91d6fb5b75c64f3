package sapwood.android

import android.app.ActivityManager
import android.app.Application
import android.app.ApplicationExitInfo
import android.content.BroadcastReceiver
import android.content.ComponentCallbacks
import android.content.ComponentCallbacks2
import android.content.Context
import android.content.Intent
import android.content.IntentFilter
import android.os.BatteryManager
import android.os.Build
import android.os.PowerManager
import java.io.File
import java.security.Security
import kotlinx.coroutines.runBlocking
import org.junit.rules.ExternalResource
import sapwood.Config
import sapwood.Given

/**
 * A phone that does what a test says: the services that the library asks, behind the stand-ins for
 * the platform. Android 12, because the generated code takes the system's cleaner from 13 on, which
 * a JVM does not have.
 */
class Phone(private val configure: Config.() -> Unit = {}) : ExternalResource() {
    private val given = Given()
    val folder: File = given.folder
    val power = FakePower()
    val memory = FakeMemory()
    val receivers = mutableListOf<BroadcastReceiver>()
    val callbacks = mutableListOf<ComponentCallbacks>()
    val app = App()

    inner class App : Application(), LearnerOwner {
        override val learner = AppLearner(this) {
            given.config().copy(folder = it.folder, key = null, keyProvider = it.keyProvider)
                .apply(configure)
        }

        override fun getApplicationContext(): Context = this
        override fun getPackageName() = "app.test"
        override fun getNoBackupFilesDir() = folder

        @Suppress("UNCHECKED_CAST")
        override fun <T : Any?> getSystemService(type: Class<T>): T = when (type) {
            PowerManager::class.java -> power
            ActivityManager::class.java -> memory
            else -> error("no $type")
        } as T

        override fun registerReceiver(receiver: BroadcastReceiver, filter: IntentFilter): Intent {
            receivers += receiver
            return power.battery
        }

        override fun unregisterReceiver(receiver: BroadcastReceiver) {
            check(receivers.remove(receiver))
        }

        override fun registerComponentCallbacks(callback: ComponentCallbacks) {
            callbacks += callback
        }

        override fun unregisterComponentCallbacks(callback: ComponentCallbacks) {
            check(callbacks.remove(callback))
        }
    }

    /** Changes the device, and lets the system say so. */
    fun change(action: String = Intent.ACTION_SCREEN_ON, how: FakePower.() -> Unit) {
        check(action in CHANGES) { "nobody listens to $action" }
        power.how()
        val intent = if (action == Intent.ACTION_BATTERY_CHANGED) power.battery else Said(action)
        receivers.toList().forEach { it.onReceive(app, intent) }
    }

    fun unplug() = change(Intent.ACTION_BATTERY_CHANGED) { battery = Battery(plugged = 0) }

    fun hide() = callbacks.forEach {
        (it as ComponentCallbacks2).onTrimMemory(ComponentCallbacks2.TRIM_MEMORY_UI_HIDDEN)
    }

    override fun before() {
        Build.VERSION.SDK_INT = 32
        Security.insertProviderAt(FakeKeystore, 1)
        FakeKeystore.held.clear()
        FakeKeystore.state = FakeKeystore.State.WELL
    }

    override fun after() {
        runBlocking { app.learner.close() }
        Security.removeProvider(FakeKeystore.name)
        folder.deleteRecursively()
    }
}

class Said(private val what: String) : Intent() {
    override fun getAction() = what
}

class Battery(
    private val plugged: Int = BATTERY_PLUGGED_AC,
    private val level: Int = 160,
    private val scale: Int = 200,
    private val temperature: Int = 300,
) : Intent() {
    override fun getAction(): String = ACTION_BATTERY_CHANGED

    override fun getIntExtra(name: String, defaultValue: Int): Int = when (name) {
        BatteryManager.EXTRA_PLUGGED -> plugged
        BatteryManager.EXTRA_LEVEL -> level
        BatteryManager.EXTRA_SCALE -> scale
        BatteryManager.EXTRA_TEMPERATURE -> temperature
        else -> defaultValue
    }

    private companion object {
        const val BATTERY_PLUGGED_AC = 1
    }
}

/** At rest on the charger. */
class FakePower : PowerManager() {
    var battery = Battery()
    var screen = false
    var saving = false
    var status = THERMAL_STATUS_NONE
        set(value) {
            field = value
            listeners.toList().forEach { it.onThermalStatusChanged(value) }
        }
    val listeners = mutableListOf<OnThermalStatusChangedListener>()

    override fun isInteractive() = screen
    override fun isPowerSaveMode() = saving

    override fun getCurrentThermalStatus(): Int {
        check(Build.VERSION.SDK_INT >= 29)
        return status
    }

    override fun addThermalStatusListener(listener: OnThermalStatusChangedListener) {
        check(Build.VERSION.SDK_INT >= 29)
        listeners += listener
    }

    override fun removeThermalStatusListener(listener: OnThermalStatusChangedListener) {
        check(listeners.remove(listener))
    }
}

class FakeMemory : ActivityManager() {
    var free = 4L shl 30
    var exits = listOf<Int>()

    override fun getMemoryInfo(info: MemoryInfo) {
        info.availMem = free
        info.threshold = 100L shl 20
    }

    override fun getHistoricalProcessExitReasons(
        name: String,
        pid: Int,
        most: Int,
    ): List<ApplicationExitInfo> {
        check(Build.VERSION.SDK_INT >= 30 && name == "app.test")
        return exits.take(most).map { reason ->
            object : ApplicationExitInfo() {
                override fun getReason() = reason
            }
        }
    }
}
