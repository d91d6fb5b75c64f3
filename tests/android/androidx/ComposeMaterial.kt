@file:Suppress("UNUSED_PARAMETER")

package androidx.compose.material3

import androidx.compose.foundation.layout.RowScope
import androidx.compose.runtime.Composable
import androidx.compose.ui.Modifier

/* Stand-ins. */

class TextStyle

class Typography {
    val titleMedium = TextStyle()
}

object MaterialTheme {
    val typography: Typography
        @Composable get() = error("stand-in")
}

@Composable
fun MaterialTheme(content: @Composable () -> Unit): Unit = error("stand-in")

@Composable
fun Text(text: String, modifier: Modifier = Modifier, style: TextStyle = TextStyle()): Unit =
    error("stand-in")

@Composable
fun Button(
    onClick: () -> Unit,
    modifier: Modifier = Modifier,
    enabled: Boolean = true,
    content: @Composable RowScope.() -> Unit,
): Unit = error("stand-in")

@Composable
fun TextButton(
    onClick: () -> Unit,
    modifier: Modifier = Modifier,
    enabled: Boolean = true,
    content: @Composable RowScope.() -> Unit,
): Unit = error("stand-in")

@Composable
fun OutlinedTextField(
    value: String,
    onValueChange: (String) -> Unit,
    modifier: Modifier = Modifier,
    enabled: Boolean = true,
    readOnly: Boolean = false,
): Unit = error("stand-in")

@Composable
fun AlertDialog(
    onDismissRequest: () -> Unit,
    confirmButton: @Composable () -> Unit,
    modifier: Modifier = Modifier,
    dismissButton: (@Composable () -> Unit)? = null,
    text: (@Composable () -> Unit)? = null,
): Unit = error("stand-in")
