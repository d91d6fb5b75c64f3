@file:Suppress("UNUSED_PARAMETER")

package androidx.compose.foundation

import androidx.compose.ui.Modifier

/** Stand-in. */
fun Modifier.clickable(enabled: Boolean = true, onClick: () -> Unit): Modifier = error("stand-in")
