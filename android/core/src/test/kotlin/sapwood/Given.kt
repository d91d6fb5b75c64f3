package sapwood

import java.io.File
import java.time.Duration
import kotlin.io.path.createTempDirectory
import kotlin.test.assertEquals
import kotlinx.coroutines.flow.toList
import org.junit.rules.ExternalResource

/** A folder that goes away, and learners on it with the model of the library. */
class Given : ExternalResource() {
    val folder: File = createTempDirectory("sapwood").toFile()
    private val opened = mutableListOf<Learner>()

    fun config() = Config(
        folder = folder.path,
        key = ByteArray(32) { it.toByte() },
        contextTokens = 512u,
        training = TrainPolicy(
            examples = 1u,
            conversations = 1u,
            cooldown = Duration.ZERO,
            steps = 4u,
            batch = 3u,
            checkpointSteps = 1u,
        ),
    )

    fun learner(change: Config.() -> Unit = {}): Learner =
        Learner.open(config().apply(change)).also { opened += it }

    /** A learner on power and unused, whose user corrected the same mistake twelve times. */
    suspend fun taught(change: Config.() -> Unit = {}): Learner {
        val learner = learner { retrieval = false; change() }
        learner.setConsent(Consent.GRANTED)
        learner.deviceChanged(resting)
        repeat(12) { n ->
            val reply = learner.ask("Triage: parcel number $n has not arrived")
            learner.signal(reply.id, Signal.Edited("logistics"))
        }
        return learner
    }

    override fun after() {
        opened.forEach { it.close() }
        folder.deleteRecursively()
    }
}

val resting = DeviceState(charging = true, idle = true, thermal = Thermal.NOMINAL)
val greedy = Sampling(temperature = 0f, maxTokens = 8u)

/** A run that only a stop ends. */
fun Config.endless() {
    training!!.steps = 100_000u
    training!!.passes = UInt.MAX_VALUE
}

/** Long, and slow to end by itself. */
fun rambling(seed: Int) = Sampling(
    temperature = 1.5f, topK = 0u, topP = 1f, minP = 0f, maxTokens = 400u, seed = seed.toULong(),
)

/** One reply on a chat of its own, whose pieces must make the whole. */
suspend fun Learner.ask(text: String, sampling: Sampling = greedy): Reply =
    chat("triage").use { chat ->
        val events = chat.stream(text, sampling).toList()
        val reply = (events.last() as Event.Done).reply
        val pieces = events.dropLast(1).joinToString("") { (it as Event.Text).delta }
        assertEquals(reply.text, pieces)
        reply
    }
