package androidx.activity

/** Stand-in. */
open class ComponentActivity : android.app.Activity()
