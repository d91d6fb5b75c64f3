@file:Suppress("UNUSED_PARAMETER")

package androidx.compose.ui

/** Stand-in. */
interface Modifier {
    companion object : Modifier
}
