@file:Suppress("UNUSED_PARAMETER")

package androidx.compose.foundation.lazy

import androidx.compose.runtime.Composable
import androidx.compose.ui.Modifier

/* Stand-ins. */

interface LazyListScope
interface LazyItemScope

@Composable
fun LazyColumn(modifier: Modifier = Modifier, content: LazyListScope.() -> Unit): Unit =
    error("stand-in")

fun <T> LazyListScope.items(
    items: List<T>,
    itemContent: @Composable LazyItemScope.(item: T) -> Unit,
): Unit = error("stand-in")
