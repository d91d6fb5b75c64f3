package androidx.lifecycle

import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.cancel

/* Stand-ins for view models. */

abstract class ViewModel {
    /** One thing at a time, as the main thread does it. */
    internal val scope = CoroutineScope(SupervisorJob() + Dispatchers.Default.limitedParallelism(1))

    protected open fun onCleared() = Unit

    /** As the activity ends. */
    fun clear() {
        scope.cancel()
        onCleared()
    }
}

val ViewModel.viewModelScope: CoroutineScope get() = scope
