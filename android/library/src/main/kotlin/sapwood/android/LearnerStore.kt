package sapwood.android

import android.content.Context
import android.security.keystore.KeyGenParameterSpec
import android.security.keystore.KeyProperties
import java.io.File
import java.io.FileOutputStream
import java.io.IOException
import java.nio.channels.FileChannel
import java.nio.file.StandardOpenOption.READ
import java.security.GeneralSecurityException
import java.security.KeyStore
import java.security.ProviderException
import java.security.SecureRandom
import javax.crypto.AEADBadTagException
import javax.crypto.Cipher
import javax.crypto.KeyGenerator
import javax.crypto.SecretKey
import javax.crypto.spec.GCMParameterSpec
import sapwood.Config
import sapwood.LearnerException

/**
 * Where a learner's folder lies and who holds its key.
 *
 * All of it is in `noBackupFilesDir`: a backup that is restored would bring back what was
 * forgotten. The learner's key is 32 random bytes. They lie beside the folder, sealed by a key that
 * never leaves the Keystore, so a copy of the files is worth nothing on another device.
 */
object LearnerStore {
    private const val KEYSTORE = "AndroidKeyStore"
    private const val CIPHER = "AES/GCM/NoPadding"
    private const val ALIAS = "sapwood.store"
    private const val KEY_BYTES = 32
    private const val NONCE_BYTES = 12
    private const val TAG_BYTES = 16

    /**
     * Settings for the app's own learner. Waits for disk and Keystore: not on the main thread.
     *
     * Throws [LearnerException.Key] if the key is lost for good, and what was kept with it: [erase]
     * begins anew. [LearnerException.Busy] and [LearnerException.Storage] may pass.
     */
    fun config(context: Context): Config = locked(context) {
        val file = keyFile(context)
        Config(folder = folder(context).path, key = if (file.exists()) read(file) else create(file))
    }

    /** Destroys the key, and after it the files. No learner may be open. */
    fun erase(context: Context) = locked(context) {
        keystore().deleteEntry(ALIAS)
        keyFile(context).delete()
        folder(context).deleteRecursively()
        Unit
    }

    private fun folder(context: Context) = File(context.noBackupFilesDir, "sapwood")

    private fun keyFile(context: Context) = File(context.noBackupFilesDir, "sapwood.key")

    /** One at a time, in all threads and processes of the app: two keys would be one too many. */
    @Synchronized
    private fun <T> locked(context: Context, work: () -> T): T = try {
        FileOutputStream(File(context.noBackupFilesDir, "sapwood.lock")).use { file ->
            file.channel.lock().use { work() }
        }
    } catch (error: IOException) {
        throw LearnerException.Storage("the key's file can't be used").caused(error)
    } catch (error: GeneralSecurityException) {
        throw failed(error)
    } catch (error: ProviderException) {
        throw failed(error)
    }

    private fun read(file: File): ByteArray {
        val sealed = file.readBytes()
        val wrap = keystore().getKey(ALIAS, null) as SecretKey? ?: throw lost("is gone")
        if (sealed.size != NONCE_BYTES + KEY_BYTES + TAG_BYTES) throw lost("is damaged")
        val cipher = Cipher.getInstance(CIPHER)
        cipher.init(Cipher.DECRYPT_MODE, wrap, GCMParameterSpec(8 * TAG_BYTES, sealed, 0, NONCE_BYTES))
        return try {
            cipher.doFinal(sealed, NONCE_BYTES, sealed.size - NONCE_BYTES)
        } catch (error: AEADBadTagException) {
            throw lost("does not fit").caused(error)
        }
    }

    /** The key must be durable before anything is sealed with it. */
    private fun create(file: File): ByteArray {
        val key = ByteArray(KEY_BYTES).also { SecureRandom().nextBytes(it) }
        val cipher = Cipher.getInstance(CIPHER)
        // The Keystore draws the nonce; it refuses one from outside.
        cipher.init(Cipher.ENCRYPT_MODE, newWrap())
        val written = File(file.path + ".new")
        FileOutputStream(written).use {
            it.write(cipher.iv + cipher.doFinal(key))
            it.fd.sync()
        }
        if (!written.renameTo(file)) throw LearnerException.Storage("the key can't be written")
        FileChannel.open(checkNotNull(file.parentFile).toPath(), READ).use { it.force(true) }
        return key
    }

    /** Usable from the first unlocking after a start on, as long as the device runs: training comes
     *  at night, when it is locked. */
    private fun newWrap(): SecretKey {
        val purposes = KeyProperties.PURPOSE_ENCRYPT or KeyProperties.PURPOSE_DECRYPT
        val spec = KeyGenParameterSpec.Builder(ALIAS, purposes)
            .setBlockModes(KeyProperties.BLOCK_MODE_GCM)
            .setEncryptionPaddings(KeyProperties.ENCRYPTION_PADDING_NONE)
            .setKeySize(256)
            .build()
        return KeyGenerator.getInstance(KeyProperties.KEY_ALGORITHM_AES, KEYSTORE)
            .apply { init(spec) }.generateKey()
    }

    private fun keystore() = KeyStore.getInstance(KEYSTORE).apply { load(null) }

    private fun lost(how: String) =
        LearnerException.Key("the key $how: what was kept can't be read any more; erase() begins anew")

    /** The Keystore is a service that may be busy or ill, and that says so in many ways. None of
     *  them may look like a lost key, or an app would erase what it could read tomorrow. */
    private fun failed(error: Exception) =
        LearnerException.Busy("the Keystore does not answer: try again later").caused(error)

    private fun LearnerException.caused(by: Exception) = apply { initCause(by) }
}
