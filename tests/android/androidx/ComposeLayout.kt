@file:Suppress("UNUSED_PARAMETER")

package androidx.compose.foundation.layout

import androidx.compose.runtime.Composable
import androidx.compose.ui.Modifier
import androidx.compose.ui.unit.Dp

/* Stand-ins. */

interface ColumnScope

interface RowScope {
    fun Modifier.weight(weight: Float, fill: Boolean = true): Modifier
}

object Arrangement {
    interface Horizontal
    interface HorizontalOrVertical : Horizontal

    val Start: Horizontal = object : Horizontal {}
    fun spacedBy(space: Dp): HorizontalOrVertical = error("stand-in")
}

@Composable
fun Column(modifier: Modifier = Modifier, content: @Composable ColumnScope.() -> Unit): Unit =
    error("stand-in")

@Composable
fun Row(
    modifier: Modifier = Modifier,
    horizontalArrangement: Arrangement.Horizontal = Arrangement.Start,
    content: @Composable RowScope.() -> Unit,
): Unit = error("stand-in")

fun Modifier.padding(all: Dp): Modifier = error("stand-in")
fun Modifier.fillMaxSize(fraction: Float = 1f): Modifier = error("stand-in")
fun Modifier.fillMaxWidth(fraction: Float = 1f): Modifier = error("stand-in")
fun Modifier.safeDrawingPadding(): Modifier = error("stand-in")
