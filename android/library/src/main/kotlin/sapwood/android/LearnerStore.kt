package sapwood.android

import android.content.Context
import java.io.File
import sapwood.Config
import sapwood.KeyProviderException
import sapwood.LearnerException

/**
 * Where the app's own learner keeps everything, and who holds its keys.
 *
 * The folder is in `noBackupFilesDir`: a backup that is restored would bring back what was
 * forgotten. Its keys are the Keystore's ([KeystoreKeys]), so a copy of the files is worth nothing
 * on another device.
 */
object LearnerStore {
    private val keys = KeystoreKeys()

    /** Settings for the app's own learner. */
    fun config(context: Context): Config =
        Config(folder = folder(context).path, keyProvider = keys)

    /** Destroys the keys, and after them the files. No learner may be open. Waits for disk and
     *  Keystore: not on the main thread. */
    fun erase(context: Context) {
        try {
            keys.destroyAll()
        } catch (error: KeyProviderException) {
            throw LearnerException.Busy("the Keystore does not answer: try again later")
                .apply { initCause(error) }
        }
        folder(context).deleteRecursively()
    }

    private fun folder(context: Context) = File(context.noBackupFilesDir, "sapwood")
}
