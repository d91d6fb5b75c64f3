@file:Suppress("UNUSED_PARAMETER")

package androidx.compose.ui.res

import androidx.compose.runtime.Composable

/* Stand-ins. */

@Composable
fun stringResource(id: Int): String = error("stand-in")

@Composable
fun stringResource(id: Int, vararg formatArgs: Any): String = error("stand-in")
