package sapwood.android

import android.security.keystore.KeyGenParameterSpec
import android.security.keystore.KeyPermanentlyInvalidatedException
import android.security.keystore.KeyProperties
import android.util.Log
import java.io.IOException
import java.security.GeneralSecurityException
import java.security.KeyStore
import java.security.ProviderException
import javax.crypto.AEADBadTagException
import javax.crypto.Cipher
import javax.crypto.KeyGenerator
import javax.crypto.SecretKey
import javax.crypto.spec.GCMParameterSpec
import sapwood.KeyProvider
import sapwood.KeyProviderException

/**
 * The keys of one store in Android's Keystore: AES-256-GCM, one key per epoch under an alias of its
 * own, none of which ever leaves the Keystore. What is forgotten loses its key for good.
 *
 * The keys can be used from the first unlocking after a start on, as long as the device runs:
 * training comes at night, when it is locked.
 */
class KeystoreKeys(private val store: String = "sapwood") : KeyProvider {

    override fun createEpoch(epoch: ULong) = asking {
        val purposes = KeyProperties.PURPOSE_ENCRYPT or KeyProperties.PURPOSE_DECRYPT
        val spec = KeyGenParameterSpec.Builder(alias(epoch), purposes)
            .setBlockModes(KeyProperties.BLOCK_MODE_GCM)
            .setEncryptionPaddings(KeyProperties.ENCRYPTION_PADDING_NONE)
            .setKeySize(256)
            .build()
        KeyGenerator.getInstance(KeyProperties.KEY_ALGORITHM_AES, KEYSTORE)
            .apply { init(spec) }.generateKey()
        Unit
    }

    override fun wrap(epoch: ULong, secret: ByteArray): ByteArray = asking {
        val cipher = Cipher.getInstance(CIPHER)
        // The Keystore draws the nonce; it refuses one from outside.
        cipher.init(Cipher.ENCRYPT_MODE, key(epoch))
        cipher.iv + cipher.doFinal(secret)
    }

    override fun unwrap(epoch: ULong, wrapped: ByteArray): ByteArray = asking {
        val key = key(epoch)
        if (wrapped.size < NONCE_BYTES + TAG_BYTES) throw KeyProviderException.Permanent()
        val cipher = Cipher.getInstance(CIPHER)
        cipher.init(Cipher.DECRYPT_MODE, key, GCMParameterSpec(8 * TAG_BYTES, wrapped, 0, NONCE_BYTES))
        cipher.doFinal(wrapped, NONCE_BYTES, wrapped.size - NONCE_BYTES)
    }

    override fun destroyEpoch(epoch: ULong) = asking { keystore().deleteEntry(alias(epoch)) }

    /** Destroys all keys of the store: nobody can read it again, wherever a copy of it is. */
    fun destroyAll() = asking {
        val keystore = keystore()
        // What follows is a number: another store may be called `$store.more`.
        val ours = keystore.aliases().toList()
            .filter { it.removePrefix("$PREFIX$store.").toULongOrNull() != null }
        ours.forEach { keystore.deleteEntry(it) }
    }

    private fun alias(epoch: ULong) = "$PREFIX$store.$epoch"

    private fun keystore() = KeyStore.getInstance(KEYSTORE).apply { load(null) }

    private fun key(epoch: ULong): SecretKey =
        keystore().getKey(alias(epoch), null) as SecretKey? ?: throw KeyProviderException.Permanent()

    /** The Keystore is a service that may be busy, locked or ill, and that says so in many ways. But
     *  for two, none of them may look like a lost key, or an app would give up what it could read
     *  tomorrow. */
    private fun <T> asking(work: () -> T): T = try {
        work()
    } catch (error: KeyPermanentlyInvalidatedException) {
        throw KeyProviderException.Permanent()
    } catch (error: AEADBadTagException) {
        throw KeyProviderException.Permanent()
    } catch (error: GeneralSecurityException) {
        throw later(error)
    } catch (error: ProviderException) {
        throw later(error)
    } catch (error: IOException) {
        throw later(error)
    }

    private fun later(error: Exception): KeyProviderException {
        Log.w(TAG, "the Keystore does not answer: $error")
        return KeyProviderException.Unavailable()
    }

    private companion object {
        const val KEYSTORE = "AndroidKeyStore"
        const val CIPHER = "AES/GCM/NoPadding"
        const val PREFIX = "sapwood.keys."
        const val NONCE_BYTES = 12
        const val TAG_BYTES = 16
    }
}
