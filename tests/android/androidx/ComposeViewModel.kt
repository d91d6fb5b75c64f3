@file:Suppress("UNUSED_PARAMETER")

package androidx.lifecycle.viewmodel.compose

import androidx.compose.runtime.Composable
import androidx.lifecycle.ViewModel

/** Stand-in for the creation extras that come with a new view model. */
abstract class CreationExtras

/** Stand-in. */
@Composable
inline fun <reified VM : ViewModel> viewModel(
    noinline initializer: CreationExtras.() -> VM,
): VM = error("stand-in")
