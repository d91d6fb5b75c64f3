@file:Suppress("UNUSED_PARAMETER")

package androidx.activity.compose

import androidx.activity.ComponentActivity
import androidx.compose.runtime.Composable

/** Stand-in. */
fun ComponentActivity.setContent(content: @Composable () -> Unit): Unit = error("stand-in")
