@file:Suppress("UNUSED_PARAMETER")

package androidx.compose.ui.unit

/** Stand-in. */
class Dp(val value: Float)

val Int.dp: Dp get() = Dp(toFloat())
