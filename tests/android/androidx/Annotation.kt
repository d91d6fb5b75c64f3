package androidx.annotation

/** Stand-in. */
annotation class RequiresApi(val api: Int = 1)
