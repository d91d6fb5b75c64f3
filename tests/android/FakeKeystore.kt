package sapwood.android

import android.security.keystore.KeyGenParameterSpec
import android.security.keystore.KeyPermanentlyInvalidatedException
import android.security.keystore.KeyProperties
import android.security.keystore.UserNotAuthenticatedException
import java.io.InputStream
import java.io.OutputStream
import java.security.AlgorithmParameters
import java.security.InvalidAlgorithmParameterException
import java.security.Key
import java.security.KeyStoreSpi
import java.security.Provider
import java.security.ProviderException
import java.security.SecureRandom
import java.security.UnrecoverableKeyException
import java.security.cert.Certificate
import java.security.spec.AlgorithmParameterSpec
import java.util.Collections
import java.util.Date
import javax.crypto.Cipher
import javax.crypto.CipherSpi
import javax.crypto.KeyGeneratorSpi
import javax.crypto.SecretKey
import javax.crypto.spec.SecretKeySpec

/** Keeps keys in memory, under the name of Android's, with AES as the JVM does it. The keys work in
 *  here alone. */
object FakeKeystore : Provider("AndroidKeyStore", "1", "for tests") {
    /** As the service may be on a real phone. */
    enum class State { WELL, ILL, LOCKED, INVALIDATED }

    val held = mutableMapOf<String, SecretKey>()
    var state = State.WELL

    init {
        put("KeyStore.AndroidKeyStore", Entries::class.java.name)
        put("KeyGenerator.AES", Generator::class.java.name)
        put("Cipher.AES/GCM/NoPadding", Sealing::class.java.name)
    }

    private fun readResolve(): Any = FakeKeystore

    private class HeldKey(val inside: SecretKey) : SecretKey {
        override fun getAlgorithm() = "AES"
        override fun getFormat(): String? = null
        override fun getEncoded(): ByteArray? = null
    }

    class Generator : KeyGeneratorSpi() {
        private lateinit var asked: KeyGenParameterSpec

        override fun engineInit(random: SecureRandom?) = throw UnsupportedOperationException()
        override fun engineInit(bits: Int, random: SecureRandom?) =
            throw UnsupportedOperationException()

        override fun engineInit(spec: AlgorithmParameterSpec?, random: SecureRandom?) {
            asked = spec as KeyGenParameterSpec
            check(asked.keySize == 256 && asked.blockModes.toList() == listOf("GCM"))
            check(asked.encryptionPaddings.toList() == listOf("NoPadding"))
            check(asked.purposes == KeyProperties.PURPOSE_ENCRYPT or KeyProperties.PURPOSE_DECRYPT)
        }

        override fun engineGenerateKey(): SecretKey {
            if (state == State.ILL) throw ProviderException("ill")
            val bytes = ByteArray(32).also { SecureRandom().nextBytes(it) }
            return HeldKey(SecretKeySpec(bytes, "AES")).also { held[asked.keystoreAlias] = it }
        }
    }

    /** The JVM's cipher, for keys of ours only. */
    class Sealing : CipherSpi() {
        private val cipher = Cipher.getInstance("AES/GCM/NoPadding", "SunJCE")

        override fun engineInit(mode: Int, key: Key, random: SecureRandom?) =
            cipher.init(mode, usable(key))

        override fun engineInit(
            mode: Int,
            key: Key,
            spec: AlgorithmParameterSpec?,
            random: SecureRandom?,
        ) {
            if (mode == Cipher.ENCRYPT_MODE) {
                throw InvalidAlgorithmParameterException("the nonce is not the caller's to choose")
            }
            cipher.init(mode, usable(key), spec)
        }

        private fun usable(key: Key): SecretKey = when (state) {
            State.LOCKED -> throw UserNotAuthenticatedException()
            State.INVALIDATED -> throw KeyPermanentlyInvalidatedException()
            else -> (key as HeldKey).inside
        }

        override fun engineGetIV(): ByteArray = cipher.iv
        override fun engineDoFinal(bytes: ByteArray, from: Int, length: Int): ByteArray =
            cipher.doFinal(bytes, from, length)

        override fun engineSetMode(mode: String?) = refused()
        override fun engineSetPadding(padding: String?) = refused()
        override fun engineGetBlockSize() = 16
        override fun engineGetOutputSize(length: Int): Int = cipher.getOutputSize(length)
        override fun engineGetParameters(): AlgorithmParameters? = null
        override fun engineInit(
            mode: Int,
            key: Key?,
            parameters: AlgorithmParameters?,
            random: SecureRandom?,
        ) = refused()
        override fun engineUpdate(bytes: ByteArray?, from: Int, length: Int): ByteArray = refused()
        override fun engineUpdate(a: ByteArray?, b: Int, c: Int, d: ByteArray?, e: Int): Int = refused()
        override fun engineDoFinal(a: ByteArray?, b: Int, c: Int, d: ByteArray?, e: Int): Int =
            refused()
    }

    class Entries : KeyStoreSpi() {
        override fun engineLoad(stream: InputStream?, password: CharArray?) = Unit
        override fun engineGetKey(alias: String, password: CharArray?): Key? {
            if (state == State.ILL) throw UnrecoverableKeyException("ill")
            return held[alias]
        }

        override fun engineDeleteEntry(alias: String) {
            if (state == State.ILL) throw ProviderException("ill")
            held -= alias
        }

        override fun engineAliases() = Collections.enumeration(held.keys.toList())
        override fun engineContainsAlias(alias: String) = alias in held
        override fun engineSize() = held.size
        override fun engineIsKeyEntry(alias: String) = alias in held
        override fun engineIsCertificateEntry(alias: String) = false
        override fun engineGetCertificateChain(alias: String): Array<Certificate>? = null
        override fun engineGetCertificate(alias: String): Certificate? = null
        override fun engineGetCertificateAlias(certificate: Certificate?): String? = null
        override fun engineGetCreationDate(alias: String): Date? = null
        override fun engineStore(stream: OutputStream?, password: CharArray?) = refused()
        override fun engineSetCertificateEntry(alias: String, certificate: Certificate?) = refused()
        override fun engineSetKeyEntry(alias: String, key: ByteArray?, chain: Array<Certificate>?) =
            refused()
        override fun engineSetKeyEntry(
            alias: String,
            key: Key?,
            password: CharArray?,
            chain: Array<Certificate>?,
        ) = refused()
    }

    private fun refused(): Nothing = throw UnsupportedOperationException()
}
